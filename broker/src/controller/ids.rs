//! Error codes in JSON.

use protocol::error_code::ErrorCode;

use crate::metadata::form::Form;

impl Form for ErrorCode {
    type Plain = i16;
    fn to_plain(&self) -> i16 {
        *self as i16
    }
    fn from_plain(plain: i16) -> Option<Self> {
        Self::from_code(plain)
    }
}
