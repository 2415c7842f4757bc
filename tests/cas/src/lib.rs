//! Xet's own test server on the loopback interface: a CAS with real xorbs and shards, which gives the
//! bytes of files in Xet storage. Clients reach it through a relay that can make things go wrong.

mod relay;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use xet::xet_session::{Sha256Policy, XetSessionBuilder};
use xet_client::cas_client::{LocalServer, LocalServerConfig};
use xet_runtime::config::XetConfig;
use xet_runtime::core::XetContext;

use relay::Relay;
pub use relay::Trouble;

/// A running CAS; it stops when dropped.
pub struct Cas {
    runtime: Option<Runtime>,
    /// The URL for uploads.
    behind: String,
    relay: Arc<Relay>,
    dir: tempfile::TempDir,
}

impl Cas {
    /// Starts an empty CAS, which keeps its content in a temporary folder.
    ///
    /// # Panics
    /// If the loopback interface has no free port.
    pub fn start() -> Self {
        Self::start_in(&std::env::temp_dir())
    }

    /// The same with the temporary folder in `parent`.
    ///
    /// # Panics
    /// If the loopback interface has no free port.
    pub fn start_in(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (behind, relay) = runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on 127.0.0.1");
            let address = listener.local_addr().expect("an address");
            let config = LocalServerConfig {
                data_directory: dir.path().join("cas"),
                host: "127.0.0.1".into(),
                port: address.port(),
                in_memory: false,
            };
            let context = XetContext::with_config(XetConfig::default()).expect("a context");
            let server = LocalServer::new(context, config).await.expect("a CAS");
            let (stop, stopped) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                let _keep = stop;
                let _ = server.serve_until_stopped(listener, stopped).await;
            });
            (format!("http://{address}"), Relay::start(address).await)
        });
        Cas { runtime: Some(runtime), behind, relay, dir }
    }

    /// The URL that the Hub must name as `casUrl`.
    pub fn url(&self) -> String {
        format!("http://{}", self.relay.address())
    }

    /// The URL of the CAS itself, without the relay, which costs time.
    pub fn direct_url(&self) -> &str {
        &self.behind
    }

    /// Uploads a file and returns its Xet hash.
    ///
    /// # Panics
    /// If the upload fails.
    pub fn upload(&self, content: &Path) -> String {
        let runtime = self.runtime.as_ref().expect("it runs");
        runtime.block_on(async {
            let config = XetConfig::default().with_config("telemetry.enabled", "false").expect("a setting");
            let builder = XetSessionBuilder::new_with_config(config).with_cache_dir(self.dir.path().join("uploads"));
            let session = builder.build().expect("a session");
            let commit = session.new_upload_commit().expect("a commit").with_endpoint(self.behind.clone());
            let commit = commit.with_token_info("token", u64::MAX / 2).build().await.expect("a commit");
            let upload =
                commit.upload_from_path(content.to_path_buf(), Sha256Policy::Compute).await.expect("an upload");
            let report = commit.commit().await.expect("an upload");
            report.uploads.get(&upload.task_id()).expect("what was uploaded").xet_info.hash().to_owned()
        })
    }

    /// Uploads bytes and returns their Xet hash.
    ///
    /// # Panics
    /// If the upload fails.
    pub fn upload_bytes(&self, content: &[u8]) -> String {
        let path = self.dir.path().join("content");
        std::fs::write(&path, content).expect("room for a file");
        self.upload(&path)
    }

    /// Sets what goes wrong from now on.
    pub fn trouble(&self, trouble: Trouble) {
        self.relay.trouble(trouble);
    }

    /// The bytes that clients were sent, including headers.
    pub fn bytes_sent(&self) -> u64 {
        self.relay.bytes_sent()
    }

    /// The first lines of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.relay.requests()
    }
}

impl Drop for Cas {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
