//! A running host, as the commands talk to it: its admin API, found through its configuration.

use super::output::CliError;
use crate::admin::{ADDRESS_FILE, load_token};
use crate::config::{AdminConfig, Config};
use crate::resilience::Class;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest reply that is read: thousands of dead letters.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Which host is meant.
#[derive(clap::Args)]
pub(super) struct HostArgs {
    /// Configuration of the running host; its [admin] section says where it listens and where the token is.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl HostArgs {
    pub fn connect(&self) -> Result<HostClient, CliError> {
        let config = Config::load(&self.config)?;
        HostClient::new(&config, &self.config)
    }
}

/// Speaks with a running host.
pub(super) struct HostClient {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    address: SocketAddr,
    config: PathBuf,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    class: Class,
    code: String,
    message: String,
}

impl HostClient {
    /// A client of the host of a configuration; `file` is where that was read.
    pub fn new(config: &Config, file: &Path) -> Result<Self, CliError> {
        let Some(admin) = &config.admin else {
            let text = format!(
                "{} has no [admin] section, so that nobody can speak with its host; add one with listen and token, and \
                 start the host again",
                file.display()
            );
            return Err(CliError::input("no_admin", text));
        };
        let token = load_token(&admin.token)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| CliError::input("key_malformed", "the admin token does not fit a header"))?;
        bearer.set_sensitive(true);
        // An error means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            // The host's own limit, and time for the way.
            .timeout(Duration::from_millis(admin.request_timeout_ms.get().saturating_add(5_000)))
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Loopback, and no TLS: no certificates of this machine are needed.
            .tls_certs_only([])
            .build()
            .map_err(|error| CliError::system("http", error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::system("runtime", error.to_string()))?;
        let address = address(admin, &config.data_dir, file)?;
        Ok(Self { runtime, http, address, config: file.to_owned() })
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.exchange(Method::GET, path, None)
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).map_err(|error| CliError::input("body", error.to_string()))?;
        self.exchange(Method::POST, path, Some(body))
    }

    /// Waits before the next look.
    pub fn pause(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, CliError> {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let exchange = async {
            let mut response = request.send().await?;
            let (status, mut bytes) = (response.status(), Vec::new());
            while let Some(chunk) = response.chunk().await? {
                if bytes.len() + chunk.len() > REPLY_BYTES_MAX {
                    break;
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok((status, bytes))
        };
        let (status, bytes) = self.runtime.block_on(exchange).map_err(|error| self.lost(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.strange(status, &error.to_string()));
        }
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(Refusal { error }) => Err(CliError::of(error.class, error.code, error.message)),
            Err(_) => Err(self.strange(status, "it is no answer of a host")),
        }
    }

    fn lost(&self, error: &reqwest::Error) -> CliError {
        let (address, config) = (self.address, self.config.display());
        if error.is_connect() {
            let text = format!("no host listens on {address}; start it with ringfence run {config}");
            return CliError::of(Class::Network, "no_host", text);
        }
        let what = if error.is_timeout() { "does not answer in time" } else { "broke off" };
        let text = format!(
            "the host on {address} {what}; whether it has done what was asked, ringfence status --config {config} says"
        );
        CliError::of(Class::Network, "host_lost", text)
    }

    fn strange(&self, status: StatusCode, reason: &str) -> CliError {
        let text = format!(
            "expected an answer of a host on {}, found status {status}: {reason}; look what listens there",
            self.address
        );
        CliError::of(Class::Api, "no_answer", text)
    }
}

/// Where a host listens. Port 0 is known only by the host that runs.
fn address(admin: &AdminConfig, data_dir: &Path, config: &Path) -> Result<SocketAddr, CliError> {
    if admin.listen.port() != 0 {
        return Ok(admin.listen);
    }
    let file = data_dir.join(ADDRESS_FILE);
    let found = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    found.ok_or_else(|| {
        let text = format!(
            "no host runs: {} does not say where one listens; start it with ringfence run {}",
            file.display(),
            config.display()
        );
        CliError::of(Class::Network, "no_host", text)
    })
}
