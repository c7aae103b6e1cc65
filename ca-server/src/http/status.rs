//! The HTTP status of an error, in one place.

use axum::http::StatusCode;
use ca_api::ErrorCode;

/// The status of a code.
pub fn of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Invalid | ErrorCode::WrongCode | ErrorCode::BadNonce => StatusCode::BAD_REQUEST,
        ErrorCode::Refused | ErrorCode::SessionOver => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
