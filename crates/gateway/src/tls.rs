//! TLS on both legs: what we offer to clients, and how far we believe a database's certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// TLS as offered to clients.
pub struct ListenerTls {
    pub(crate) acceptor: TlsAcceptor,
    /// What clients see, and bind their SCRAM exchange to.
    pub(crate) leaf: CertificateDer<'static>,
}

/// How the leg to the database is protected.
pub struct UpstreamTls {
    pub(crate) mode: TlsMode,
    pub(crate) connector: Option<TlsConnector>,
    /// Whom it trusts, where it verifies.
    roots: Vec<TrustAnchor<'static>>,
}

/// As `sslmode` of libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// TLS if the server has it, else none.
    Prefer,
    /// TLS with whatever certificate.
    Require,
    /// The certificate's chain is verified, its name is not.
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("can't read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {what}")]
    Unusable { path: PathBuf, what: String },
    #[error("this machine has no usable root certificates; name a `ca` file")]
    NoRoots,
}

impl ListenerTls {
    /// A PEM chain, leaf first, and its key.
    pub fn load(certificate: &Path, key: &Path) -> Result<ListenerTls, TlsError> {
        let chain = certificates(certificate)?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(unusable(certificate, "holds no certificate"));
        };
        let pem = read(key)?;
        let private = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|e| unusable(key, &format!("holds no usable private key: {e}")))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(certificate, &e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|e| {
                unusable(certificate, &format!("does not go with {}: {e}", key.display()))
            })?;
        Ok(ListenerTls { acceptor: TlsAcceptor::from(Arc::new(config)), leaf })
    }
}

impl UpstreamTls {
    /// `ca` replaces the roots of the system for the two modes that verify.
    pub fn new(mode: TlsMode, ca: Option<&Path>) -> Result<UpstreamTls, TlsError> {
        let (verifier, roots): (Arc<dyn ServerCertVerifier>, _) = match mode {
            TlsMode::Disable => {
                return Ok(UpstreamTls { mode, connector: None, roots: Vec::new() });
            }
            TlsMode::Prefer | TlsMode::Require => {
                (Arc::new(AnyCertificate(algorithms())), Vec::new())
            }
            TlsMode::VerifyCa => {
                let roots = roots_of(ca)?;
                (Arc::new(AnyName(verifier(roots.clone(), ca)?)), roots.roots)
            }
            TlsMode::VerifyFull => {
                let roots = roots_of(ca)?;
                (verifier(roots.clone(), ca)?, roots.roots)
            }
        };
        UpstreamTls::by(mode, verifier, roots, ca)
    }

    /// It proves the same.
    pub(crate) fn is_as(&self, other: &UpstreamTls) -> bool {
        self.mode == other.mode && self.roots == other.roots
    }

    /// How Gatepost's own commands speak TLS to an identity provider: by the roots of the system, and
    /// by those of `ca` besides. The gateway's authority may be the company's own and the provider
    /// public, or both the company's.
    pub fn beside_system(ca: Option<&Path>) -> Result<UpstreamTls, TlsError> {
        let mut roots = RootCertStore::empty();
        add_system_roots(&mut roots);
        if let Some(path) = ca {
            add_roots(&mut roots, path)?;
        }
        UpstreamTls::by(TlsMode::VerifyFull, verifier(roots.clone(), ca)?, roots.roots, ca)
    }

    fn by(
        mode: TlsMode,
        verifier: Arc<dyn ServerCertVerifier>,
        roots: Vec<TrustAnchor<'static>>,
        ca: Option<&Path>,
    ) -> Result<UpstreamTls, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(ca.unwrap_or(Path::new("tls")), &e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(UpstreamTls { mode, connector: Some(TlsConnector::from(Arc::new(config))), roots })
    }
}

/// How Gatepost's own commands speak TLS to a gateway. `ca` replaces the roots of the system.
pub fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(ca.unwrap_or(Path::new("tls")), &e.to_string()))?
        .with_webpki_verifier(chain_verifier(ca)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

fn chain_verifier(ca: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    verifier(roots_of(ca)?, ca)
}

fn roots_of(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => add_roots(&mut roots, path)?,
        None => add_system_roots(&mut roots),
    }
    Ok(roots)
}

fn verifier(
    roots: RootCertStore,
    ca: Option<&Path>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|e| {
        match ca {
            Some(path) => unusable(path, &e.to_string()),
            None => TlsError::NoRoots,
        }
    })
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| unusable(path, &e.to_string()))?;
    }
    Ok(())
}

/// Some machines carry roots that are malformed; the rest are still good.
fn add_system_roots(roots: &mut RootCertStore) {
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| unusable(path, &format!("is not PEM: {e}")))?;
    if chain.is_empty() { Err(unusable(path, "holds no certificate")) } else { Ok(chain) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn unusable(path: &Path, what: &str) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), what: what.to_owned() }
}

/// For modes that encrypt and do not verify, as libpq's: they keep out who listens, not who
/// stands between.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

/// The chain is verified; the name may be another, as behind an address or a load balancer.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The verifier looks at the name last, so a wrong name means that all else was right.
        match self.0.verify_server_cert(leaf, chain, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
