//! Fetches a repo with the Rust `hf-hub` client, as a peer in `benches/` and `tests/e2e/peers.rs`: `hf_hub_get
//! REPO [FILE...]` with `HF_ENDPOINT` and `HF_HOME` set. Fetches several files at once; without a file name, all
//! files of the repo.

use futures_util::future::try_join_all;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let id = arguments.next().ok_or("no repo")?;
    let (owner, name) = id.split_once('/').ok_or("no owner")?;
    let client = hf_hub::HFClient::builder().build()?;
    let repo = client.model(owner, name);
    if arguments.len() == 0 {
        repo.snapshot_download().send().await?;
        return Ok(());
    }
    try_join_all(arguments.map(|file| {
        let repo = &repo;
        async move { repo.download_file().filename(file).send().await }
    }))
    .await?;
    Ok(())
}
