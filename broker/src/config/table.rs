//! The one list of keys: a struct, its defaults, its parser and its documentation from the same rows.

/// Declares a configuration struct. Each row is a documented field with its type, default, key and kind; the
/// struct, `Default`, the key table, `set` and `get` come from it, so nothing is said twice.
macro_rules! settings {
    ($(#[$outer:meta])* pub struct $name:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $key:literal, $kind:expr;)*
    }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ #[doc = concat!("\n\nKey: `", $key, "`.")] pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// Every key of this part, in the order of the documentation.
            pub const KEYS: &'static [$crate::config::Key] = &[
                $($crate::config::Key { name: $key, kind: $kind, doc: concat!($($doc),+) },)*
            ];

            /// Sets the key from text. `Ok(false)`: the key is not of this part.
            pub(in $crate::config) fn set(&mut self, key: &str, text: &str) -> Result<bool, String> {
                match key {
                    $($key => self.$field = $crate::config::kind::Value::parse(&$kind, text)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// The value of the key as the text that `set` takes.
            pub(in $crate::config) fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some($crate::config::kind::Value::show(&self.$field, &$kind)),)*
                    _ => None,
                }
            }
        }
    };
}
pub(super) use settings;

/// Declares an enum whose values are words in the configuration.
macro_rules! words {
    ($(#[$outer:meta])* pub enum $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// The words that the configuration takes.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// This one's.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl $crate::config::kind::Value for $name {
            fn parse(_: &$crate::config::Kind, text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("must be one of {}", Self::WORDS.join(", "))),
                }
            }

            fn show(&self, _: &$crate::config::Kind) -> String {
                self.word().to_owned()
            }
        }
    };
}
pub(super) use words;
