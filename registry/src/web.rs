//! A file from any web server, as `ADD` in a Dockerfile names one: nothing that proves who asks goes along, and whoever is asked
//! over HTTPS must prove who they are to this system's authorities.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;

use ureq::Proxy;
use ureq::http::{Method, Request, Uri};

use crate::address::{as_secure, origin, redirected, refused};
use crate::client::{ClientOptions, MAX_REDIRECTS, agent_of, drain};
use crate::error::RegistryError;
use crate::header::http_date;
use crate::host::is_loopback;
use crate::interrupt::Watch;
use crate::tls;
use crate::transport::{broken, transport};

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// What a server says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebFile {
    /// When it was changed last, in seconds since 1970.
    pub modified: Option<i64>,
}

/// Fetches the file at an `http` or `https` address, and writes what is in it.
///
/// # Errors
/// [`RegistryError`], also where the file cannot be written.
pub fn fetch_file(url: &str, options: &ClientOptions, out: &mut dyn Write) -> Result<WebFile, RegistryError> {
    let fetched = fetch(url, options, out);
    // A connection that was closed because the user asks to stop looks like one that broke.
    if options.interrupted.load(Ordering::Relaxed) { Err(RegistryError::Interrupted) } else { fetched }
}

fn fetch(url: &str, options: &ClientOptions, out: &mut dyn Write) -> Result<WebFile, RegistryError> {
    let of_none = |error: &dyn std::fmt::Display| RegistryError::Document {
        url: url.chars().take(200).collect(),
        reason: error.to_string(),
    };
    let tls = tls::checked(tls::system_roots()?, Vec::new())?;
    // As with Go's client, this machine is spoken to without a proxy.
    let agents = [None, Proxy::try_from_env()].map(|proxy| agent_of(options, proxy, None, tls.clone()));
    let _watch = Watch::new(agents.clone(), &options.interrupted);
    let mut at = url.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let uri: Uri = at.parse().map_err(|error| of_none(&error))?;
        let is_here = uri.authority().is_some_and(|authority| is_loopback(authority.as_str()));
        let request = Request::builder().method(Method::GET).uri(uri).body(()).map_err(|error| of_none(&error))?;
        let agent = if is_here { &agents[0] } else { &agents[1] };
        let response = agent.run(request).map_err(|error| transport("Get", &at, &error))?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(target) = header("location").filter(|_| matches!(status.as_u16(), 301..=303 | 307 | 308)) {
            let next = redirected(&at, target)
                .ok_or_else(|| refused(&Method::GET, url, target, "it is neither an http nor an https address"))?;
            as_secure(&Method::GET, url, origin(&at).as_ref(), &next)?;
            drain(response);
            at = next;
            continue;
        }
        if !status.is_success() {
            return Err(RegistryError::WebStatus { status: status.as_u16() });
        }
        let modified = header("last-modified").and_then(http_date);
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            match body.read(&mut piece).map_err(|error| broken("Get", &at, &error))? {
                0 => return Ok(WebFile { modified }),
                read => out.write_all(&piece[..read]).map_err(|source| {
                    let path = std::env::temp_dir();
                    RegistryError::File { path, source }
                })?,
            }
            if options.interrupted.load(Ordering::Relaxed) {
                return Err(RegistryError::Interrupted);
            }
        }
    }
    Err(refused(&Method::GET, url, &at, "stopped after 10 redirects"))
}
