//! Why a client doesn't get a resource, told in the resource's place (xRFC TP3).

use tonic::Code;

use crate::limits::ERROR_MESSAGE_BYTES_MAX;

/// Why a client doesn't get a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDetail {
    code: Code,
    message: String,
}

/// Why something is no [`ErrorDetail`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadErrorDetail {
    /// `OK` is none.
    #[error("a resource error must have a code other than OK")]
    Ok,
    /// More than [`ERROR_MESSAGE_BYTES_MAX`].
    #[error("a resource error's message has {0} bytes; {ERROR_MESSAGE_BYTES_MAX} at most")]
    TooLong(usize),
}

// === impl ErrorDetail ===

impl ErrorDetail {
    /// An error with a sentence for the people who operate the client.
    ///
    /// `NOT_FOUND` and `PERMISSION_DENIED` are about the data: the resource is taken away from those
    /// who have it. With any other code the failure counts as passing: who has the resource keeps it.
    ///
    /// # Errors
    /// For the code `OK`, and for more than [`ERROR_MESSAGE_BYTES_MAX`].
    pub fn new(code: Code, message: &str) -> Result<Self, BadErrorDetail> {
        if code == Code::Ok {
            return Err(BadErrorDetail::Ok);
        }
        if message.len() > ERROR_MESSAGE_BYTES_MAX {
            return Err(BadErrorDetail::TooLong(message.len()));
        }
        let message = message.to_owned();
        Ok(Self { code, message })
    }

    /// What a secret is answered with that the client wasn't granted, or that doesn't exist: who
    /// isn't granted a secret isn't told which (security: no oracle).
    pub(crate) fn of_secrets() -> Self {
        let message =
            "no such secret is granted to this identity; whether it exists isn't told".to_owned();
        Self {
            code: Code::PermissionDenied,
            message,
        }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether who has the resource keeps it (TP3: transient failures).
    pub fn is_transient(&self) -> bool {
        !matches!(self.code, Code::NotFound | Code::PermissionDenied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g10_not_found_and_permission_denied_are_about_the_data_and_all_else_passes() {
        for code in (1..=16).map(Code::from) {
            let detail = ErrorDetail::new(code, "why").unwrap();
            let of_data = [Code::NotFound, Code::PermissionDenied].contains(&code);
            assert_eq!(detail.is_transient(), !of_data, "{code:?}");
        }
    }

    #[test]
    fn ok_and_long_stories_are_refused() {
        assert_eq!(ErrorDetail::new(Code::Ok, "why"), Err(BadErrorDetail::Ok));
        let long = "x".repeat(ERROR_MESSAGE_BYTES_MAX + 1);
        let refused = ErrorDetail::new(Code::NotFound, &long);
        assert_eq!(refused, Err(BadErrorDetail::TooLong(long.len())));
    }
}
