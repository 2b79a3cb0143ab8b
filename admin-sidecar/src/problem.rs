//! Dresses bare answers as `application/problem+json`.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use resilience_core::Problem;

/// Gives the router's bare 404 and 405 the body that every error has. `Allow`
/// and the other headers stay.
pub async fn dress(response: Response) -> Response {
    let advice = match response.status() {
        StatusCode::NOT_FOUND => "GET / lists the paths",
        StatusCode::METHOD_NOT_ALLOWED => "use a method of the `Allow` header",
        _ => return response,
    };
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return response; // an answer with something of its own to say
    }
    let (head, _) = response.into_parts();
    let detail = match head.status {
        StatusCode::NOT_FOUND => "there is nothing at this path",
        _ => "the path does not take this method",
    };
    let mut dressed = Problem::new(head.status, detail)
        .advice(advice)
        .into_response();
    for (name, value) in &head.headers {
        if name != header::CONTENT_LENGTH {
            dressed.headers_mut().insert(name.clone(), value.clone());
        }
    }
    dressed
}
