//! Answers that are errors: their status, and what their body says.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use ureq::Body;
use ureq::http::{Method, Response};

use crate::client::Answer;
use crate::error::{RegistryError, Reported};
use crate::header::retry_after;
use crate::transport::spelled;

/// The most of an error's body that is read.
const MAX_ERROR: u64 = 64 << 10;

/// Returns the answer, or the error that its status and its body tell.
pub(crate) fn checked(method: &Method, answer: Answer) -> Result<Answer, RegistryError> {
    if answer.response.status().is_success() { Ok(answer) } else { Err(failed(method, answer)) }
}

/// The error that the status and the body of an answer tell.
pub(crate) fn failed(method: &Method, answer: Answer) -> RegistryError {
    let status = answer.response.status();
    let wait = answer.header("retry-after").and_then(|text| retry_after(text, now()));
    let Answer { response, url } = answer;
    let method = spelled(method);
    let body = body_of(response);
    match (status.as_u16(), reported(&body)) {
        (429, reported) => RegistryError::TooManyRequests {
            message: reported.map_or_else(|| plain(&body, "the registry is busy"), |reported| reported.message),
            retry_after: wait,
        },
        (503, _) if wait.is_some() => {
            RegistryError::TooManyRequests { message: plain(&body, "the registry is busy"), retry_after: wait }
        }
        (number @ 500.., _) => {
            RegistryError::Status { method, url, status: status.to_string(), transient: number != 501 }
        }
        (401, reported) if reported.as_ref().is_none_or(|reported| reported.code == "UNAUTHORIZED") => {
            let reason = reported.map_or_else(|| "authentication required".to_owned(), |reported| reported.message);
            RegistryError::Unauthorized { method, url, reason }
        }
        (_, Some(reported)) => RegistryError::Reported { method, url, reported },
        (_, None) => RegistryError::Status { method, url, status: status.to_string(), transient: false },
    }
}

/// The body of an error. If it cannot be read, the status alone tells what is wrong.
pub(crate) fn body_of(response: Response<Body>) -> Vec<u8> {
    let mut body = Vec::new();
    let _ = response.into_body().into_reader().take(MAX_ERROR).read_to_end(&mut body);
    body
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Option<Vec<ErrorItem>>,
    details: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct ErrorItem {
    code: Option<String>,
    message: Option<String>,
}

/// The first error of an error's body.
pub(crate) fn reported(body: &[u8]) -> Option<Reported> {
    let body: ErrorBody = serde_json::from_slice(body).ok()?;
    let clean = |text: String| text.chars().filter(|char| !char.is_control()).take(1000).collect::<String>();
    if let Some(first) = body.errors.and_then(|errors| errors.into_iter().next()) {
        let (code, message) = (first.code.unwrap_or_default(), first.message.unwrap_or_default());
        return Some(Reported { code: clean(code), message: clean(message) });
    }
    let message = body.details.or(body.message)?;
    Some(Reported { code: "UNKNOWN".into(), message: clean(message) })
}

/// The first line of a body that is no JSON, or `otherwise` if that line is empty.
fn plain(body: &[u8], otherwise: &str) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default().trim();
    let line: String = line.chars().filter(|char| !char.is_control()).take(200).collect();
    if line.is_empty() { otherwise.to_owned() } else { line }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read() {
        let of = |text: &str| reported(text.as_bytes()).map(|reported| reported.to_string());
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#;
        assert_eq!(of(body).as_deref(), Some("manifest unknown: manifest unknown"));
        assert_eq!(of(r#"{"details":"slow\u001b[31m down"}"#).as_deref(), Some("unknown: slow[31m down"));
        for none in ["", "<html>", "{}", "[]", r#"{"errors":[]}"#, r#"{"errors":7}"#] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
