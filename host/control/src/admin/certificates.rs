//! Certificates: put, list, read, remove. A key goes in and never out. Below a domain are those that stand for it.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use edgeward_core::config::is_certificate_name;
use edgeward_proxy::CertificatePem;
use serde::Deserialize;

use super::{Api, ApiError, made, model::Page};
use crate::{OrderView, deploy::CertificateView};

/// A certificate to keep.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCertificate {
    /// Certificate chain, PEM, leaf first.
    chain: String,
    /// Private key, PEM (PKCS#8, SEC1 or PKCS#1).
    key: String,
    /// Server names it is for, `*.example.com` allowed. Default: the DNS names in the certificate.
    #[serde(default)]
    names: Vec<String>,
}

/// Certificates that are kept, with what there is to tell of each but its key: all, or a page of them.
#[utoipa::path(get, path = "/v1/certificates", tag = "certificates", security(("token" = [])), params(Page), responses((status = 200, body = Vec<CertificateView>), (status = 400, body = ApiError)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<CertificateView>>, ApiError> {
    page.named(api.deployer.certificates()?, |kept| &kept.name)
}

/// One certificate, without its key.
#[utoipa::path(
    get, path = "/v1/certificates/{name}", tag = "certificates", security(("token" = [])),
    params(("name" = String, Path, description = "name of the certificate")),
    responses((status = 200, body = CertificateView), (status = 404, body = ApiError)),
)]
pub(super) async fn read(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<CertificateView>, ApiError> {
    Ok(Json(api.deployer.certificate(&name, None)?))
}

/// Keeps a certificate under a name. Handshakes that come after the answer get it where a listener shows it; open connections stay.
#[utoipa::path(
    put, path = "/v1/certificates/{name}", tag = "certificates", security(("token" = [])),
    params(("name" = String, Path, description = "1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`")),
    request_body = NewCertificate,
    responses(
        (status = 201, body = CertificateView), (status = 200, body = CertificateView, description = "replaced"),
        (status = 409, body = ApiError, description = "too many, or a domain shows it that it would not be for any more"),
        (status = 422, body = ApiError, description = "chain or key cannot be used, do not belong together, or the certificate has expired"),
    ),
)]
pub(super) async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<CertificateView>), ApiError> {
    let pem = wanted(&name, &body)?;
    Ok(answer(api.deployer.put_certificate(&name, pem, None).await?))
}

fn answer((view, created): (CertificateView, bool)) -> (StatusCode, Json<CertificateView>) {
    (made(created), Json(view))
}

/// What shall be kept under a name.
fn wanted(name: &str, body: &Bytes) -> Result<CertificatePem, ApiError> {
    if !is_certificate_name(name) {
        let problem =
            format!("`{name}` cannot be the name of a certificate: 1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, problem));
    }
    // the parser's own words may quote the key
    let new: NewCertificate = serde_json::from_slice(body).map_err(|error| {
        let problem = format!(
            "body: not a JSON object of `chain`, `key` (PEM) and `names`, see line {} column {}",
            error.line(),
            error.column()
        );
        ApiError::new(StatusCode::BAD_REQUEST, problem)
    })?;
    Ok(CertificatePem {
        chain: new.chain,
        key: new.key,
        names: new.names,
    })
}

/// Removes a certificate that neither a listener nor a domain asks for by its name.
#[utoipa::path(
    delete, path = "/v1/certificates/{name}", tag = "certificates", security(("token" = [])),
    params(("name" = String, Path, description = "name of the certificate")),
    responses((status = 204), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "in use")),
)]
pub(super) async fn remove(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    api.deployer.remove_certificate(&name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Orders a certificate of an authority (ACME) now, however long it still holds and however often that failed. Status tells how it went.
#[utoipa::path(
    post, path = "/v1/certificates/{name}/renew", tag = "certificates", security(("token" = [])),
    params(("name" = String, Path, description = "name of the certificate, e.g. `acme:www.example.com`")),
    responses((status = 202, body = OrderView), (status = 404, body = ApiError, description = "no such certificate is ordered")),
)]
pub(super) async fn renew(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<OrderView>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(api.deployer.renew_certificate(&name)?)))
}

/// Certificates that stand for a domain: all, or a page of them. It shows the one that its `certificate` names, and is in that one's `domains`.
#[utoipa::path(
    get, path = "/v1/domains/{parent}/certificates", tag = "domains", security(("token" = [])),
    params(("parent" = String, Path, description = "the domain"), Page),
    responses((status = 200, body = Vec<CertificateView>), (status = 400, body = ApiError), (status = 404, body = ApiError)),
)]
pub(super) async fn list_of_domain(
    State(api): State<Api>,
    Path(domain): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<CertificateView>>, ApiError> {
    page.named(api.deployer.certificates_of(&domain)?, |kept| &kept.name)
}

/// One of them, without its key.
#[utoipa::path(
    get, path = "/v1/domains/{parent}/certificates/{name}", tag = "domains", security(("token" = [])),
    params(("parent" = String, Path, description = "the domain"), ("name" = String, Path, description = "name of the certificate")),
    responses((status = 200, body = CertificateView), (status = 404, body = ApiError)),
)]
pub(super) async fn read_of_domain(
    State(api): State<Api>,
    Path((domain, name)): Path<(String, String)>,
) -> Result<Json<CertificateView>, ApiError> {
    Ok(Json(api.deployer.certificate(&name, Some(&domain))?))
}

/// Keeps a certificate, as `/v1/certificates/{name}` does, that has to stand for the domain.
#[utoipa::path(
    put, path = "/v1/domains/{parent}/certificates/{name}", tag = "domains", security(("token" = [])),
    params(("parent" = String, Path, description = "the domain"), ("name" = String, Path, description = "1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`")),
    request_body = NewCertificate,
    responses(
        (status = 201, body = CertificateView), (status = 200, body = CertificateView, description = "replaced"),
        (status = 404, body = ApiError, description = "no such domain"),
        (status = 409, body = ApiError, description = "too many, one for others is kept under the name, or another domain shows it that it would not be for any more"),
        (status = 422, body = ApiError, description = "chain or key cannot be used, do not belong together, are for other domains, or the certificate has expired"),
    ),
)]
pub(super) async fn put_of_domain(
    State(api): State<Api>,
    Path((domain, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<(StatusCode, Json<CertificateView>), ApiError> {
    let pem = wanted(&name, &body)?;
    Ok(answer(
        api.deployer.put_certificate(&name, pem, Some(&domain)).await?,
    ))
}

/// Removes a certificate that stands for the domain, and that neither a listener nor a domain asks for by its name.
#[utoipa::path(
    delete, path = "/v1/domains/{parent}/certificates/{name}", tag = "domains", security(("token" = [])),
    params(("parent" = String, Path, description = "the domain"), ("name" = String, Path, description = "name of the certificate")),
    responses((status = 204), (status = 404, body = ApiError), (status = 409, body = ApiError, description = "in use")),
)]
pub(super) async fn remove_of_domain(
    State(api): State<Api>,
    Path((domain, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    api.deployer.remove_certificate(&name, Some(&domain)).await?;
    Ok(StatusCode::NO_CONTENT)
}
