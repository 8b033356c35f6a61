//! `ApiVersions`: what is served, straight from the table.

use protocol::api;
use protocol::error_code::ErrorCode;
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

use crate::dispatch::Context;

/// From this version on the client says what software it is.
const NAMES_SINCE: i16 = 3;

/// Answers it.
pub fn handle(cx: &Context, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    if cx.version >= NAMES_SINCE && !named {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..Default::default()
        };
    }
    api::api_versions()
}

/// Letters, digits, dots and dashes, beginning and ending with a letter or digit.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_what_kafka_accepts() {
        for good in [
            "apache-kafka-java",
            "librdkafka",
            "3.9.0",
            "a",
            "v2.0.2-RC1",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "-java",
            "java-",
            "with space",
            "semi;colon",
            "\u{fc}ber",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
