//! Tokens for CI jobs that have none: `HF_OIDC_RESOURCE`. The library gets the token; this module decides when.

use hfget_core::hub::HubConfig;
use hfget_core::unstable::hub::Keyless;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::screen::Screen;
use crate::exit::ExitCode;
use crate::render::remedies::words;

/// Puts the token of this job into the configuration, if the environment asks for one. If it cannot be got, this is an
/// error: no other token is sent instead.
pub(super) fn job_token(hub: &mut HubConfig, screen: &Screen) -> Result<(), ExitCode> {
    let token = Keyless::from_env(|name| std::env::var_os(name)).and_then(|job| match job {
        // The command has a runtime with more than one thread, which `block_in_place` needs.
        Some(job) => block_in_place(|| Handle::current().block_on(job.exchange(hub))).map(|given| Some((job, given))),
        None => Ok(None),
    });
    match token {
        Ok(Some((job, given))) => {
            hub.token = Some(given.token.clone());
            let hub = hub.clone();
            // The task ends with the run.
            Handle::current().spawn(async move { job.keep(&hub, given).await });
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => {
            screen.fail("", &error, error.remedy().as_ref().map(words).as_deref());
            Err(error.kind().into())
        }
    }
}
