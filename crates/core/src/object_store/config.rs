//! Which object store to use, and the credentials for it. The caller passes the credentials in, and may take them from
//! the environment; nothing here reads it.
//!
//! The libraries that are used here still read three things if no option replaces them: the environment's proxies, the
//! metadata service of the machine, and the files that an option names (`AWS_WEB_IDENTITY_TOKEN_FILE`,
//! `GOOGLE_APPLICATION_CREDENTIALS`).

use std::fmt;

use object_store::ClientOptions;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;

use super::url::{ObjectUrl, ObjectUrlError, Provider};
use crate::text::keep_secret;

/// An object store and the options that are needed to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreConfig {
    url: ObjectUrl,
    /// The options, by the names of the variables that the clouds' own tools read, in upper case.
    options: Vec<(String, String)>,
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are secrets.
        let names: Vec<&str> = self.options.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("StoreConfig").field("url", &self.url).field("options", &names).finish()
    }
}

#[doc(hidden)] // for the command
impl From<ObjectUrl> for StoreConfig {
    /// A configuration without options: for public buckets, and if the machine's role is enough.
    fn from(url: ObjectUrl) -> Self {
        StoreConfig { url, options: Vec::new() }
    }
}

impl StoreConfig {
    /// The store that a text names; `None` if the text is not meant to name one.
    pub fn meant(text: &str) -> Option<Result<Self, ObjectUrlError>> {
        ObjectUrl::is_meant(text.trim()).then(|| text.parse().map(|url: ObjectUrl| url.into()))
    }

    /// Sets the options; those of the store's provider are used: `AWS_…`, `GOOGLE_…` and `SERVICE_ACCOUNT`, `AZURE_…`
    /// and `IDENTITY_ENDPOINT`. `std::env::vars()` takes them from the environment.
    #[must_use]
    pub fn with_options(mut self, options: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |name: &str| match self.url.provider() {
            Provider::S3 => name.starts_with("AWS_"),
            Provider::Google => name.starts_with("GOOGLE_") || name == "SERVICE_ACCOUNT",
            Provider::Azure => name.starts_with("AZURE_") || name == "IDENTITY_ENDPOINT",
        };
        self.options = options.into_iter().filter(|(name, _)| ours(name)).collect();
        for (name, value) in &self.options {
            if ["SECRET", "TOKEN", "KEY", "SIGNATURE", "PASSWORD"].iter().any(|word| name.contains(word)) {
                keep_secret(value);
            }
        }
        self
    }

    /// The store's URL.
    #[doc(hidden)] // for the command
    pub fn url(&self) -> &ObjectUrl {
        &self.url
    }

    fn option(&self, wanted: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// The server with S3's protocol, if an option names one.
    fn own_endpoint(&self) -> Option<&str> {
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| self.option(name))
    }

    /// The text that distinguishes this store from another one with the same bucket names.
    pub(super) fn server(&self) -> &str {
        let named = match self.url.provider() {
            Provider::S3 => self.own_endpoint(),
            Provider::Google => None,
            Provider::Azure => self.option("AZURE_STORAGE_ACCOUNT_NAME"),
        };
        named.unwrap_or_default()
    }

    /// Allows plain HTTP only for a server that the user named with `http://`.
    pub(super) fn with_http(&self, options: ClientOptions) -> ClientOptions {
        options.with_allow_http(self.own_endpoint().is_some_and(|url| url.starts_with("http://")))
    }

    pub(super) fn amazon(&self) -> AmazonS3Builder {
        self.options.iter().fold(AmazonS3Builder::new(), |builder, (name, value)| {
            match name.to_ascii_lowercase().parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            }
        })
    }

    pub(super) fn google(&self) -> GoogleCloudStorageBuilder {
        let builder = GoogleCloudStorageBuilder::new();
        let builder = match self.option("SERVICE_ACCOUNT") {
            Some(path) => builder.with_service_account_path(path),
            None => builder,
        };
        self.options.iter().fold(builder, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        })
    }

    pub(super) fn azure(&self) -> MicrosoftAzureBuilder {
        let builder = MicrosoftAzureBuilder::new();
        let builder =
            self.options.iter().fold(builder, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            });
        match self.option("IDENTITY_ENDPOINT") {
            Some(endpoint) => builder.with_msi_endpoint(endpoint),
            None => builder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, options: &[(&str, &str)]) -> StoreConfig {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        StoreConfig::from(url.parse::<ObjectUrl>().unwrap()).with_options(options)
    }

    #[test]
    fn a_store_gets_the_options_of_its_own_provider_and_shows_none_of_their_values() {
        let all = [("AWS_SECRET_ACCESS_KEY", "s3-secret"), ("AZURE_STORAGE_ACCOUNT_NAME", "acct"), ("HOME", "/h")];
        let s3 = config("s3://b", &all);
        assert_eq!(s3.options.len(), 1);
        assert!(!format!("{s3:?}").contains("s3-secret"));
        assert_eq!(config("az://b", &all).server(), "acct");
        assert_eq!(config("gs://b", &all).server(), "");
    }

    #[test]
    fn plain_http_is_for_a_server_that_the_user_names() {
        assert_eq!(config("s3://b", &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]).server(), "http://127.0.0.1:1");
        assert!(StoreConfig::meant("https://x/y").is_none());
        assert!(StoreConfig::meant("s3://").is_some_and(|named| named.is_err()));
    }
}
