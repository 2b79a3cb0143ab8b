//! Which host a request was meant for, and which site it came from.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode, Uri, header, uri::Authority};

use super::{Refusal, single};
use resilience_core::Problem;

/// The hosts that this listener answers to: the loopback ones, its own address,
/// and those that were allowed. The port does not matter, as a port-forward
/// changes it.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    own: IpAddr,
    names: Vec<String>,
}

impl AllowedHosts {
    /// `own` is the address the listener is bound to.
    #[must_use]
    pub fn new(own: IpAddr, names: &[String]) -> Self {
        Self {
            own,
            names: names.iter().map(|name| canonical(name)).collect(),
        }
    }

    /// The host the request was meant for.
    pub(super) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<Authority, Refusal> {
        let refusal = |detail: String| {
            let advice = "use http://localhost, or start the sidecar with --allowed-host for the \
                          name you use (ADMIN_ALLOWED_HOST)";
            (
                "host",
                Problem::new(StatusCode::FORBIDDEN, detail).advice(advice),
            )
        };
        let host = match single(headers, &header::HOST) {
            Some(Ok(host)) => host,
            Some(Err(())) => return Err(refusal("the `Host` header cannot be read".to_owned())),
            None => return Err(refusal("there is no `Host` header".to_owned())),
        };
        let host: Authority = host
            .parse()
            .map_err(|_| refusal(format!("`Host` is `{host}`, which is no host")))?;
        // An absolute URI names a host too; both must be ours.
        for authority in [Some(&host), uri.authority()].into_iter().flatten() {
            if !self.allows(authority) {
                return Err(refusal(format!(
                    "this is not the host `{}`, allowed: localhost and loopback addresses{}",
                    authority.host(),
                    self.names
                        .iter()
                        .map(|name| format!(", {name}"))
                        .collect::<String>(),
                )));
            }
        }
        Ok(host)
    }

    fn allows(&self, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = canonical(authority.host());
        if host == "localhost" || self.names.contains(&host) {
            return true;
        }
        // The name of an address is no name that a resolver can be made to lie
        // about, but only our own are of use here.
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal.parse::<IpAddr>().is_ok_and(|ip| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip == self.own.to_canonical()
        })
    }
}

fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Refuses what a browser says comes from elsewhere. curl says nothing.
pub(super) fn same_site(
    headers: &HeaderMap,
    host: &Authority,
    fetch_site: Option<Result<&str, ()>>,
) -> Result<(), Refusal> {
    let advice = "make changes with curl on the machine itself, or from this host's own pages";
    let refusal = |reason, detail: String| {
        Err((
            reason,
            Problem::new(StatusCode::FORBIDDEN, detail).advice(advice),
        ))
    };
    match fetch_site {
        None | Some(Ok("none" | "same-origin")) => {}
        Some(site) => {
            let site = site.unwrap_or("unreadable");
            return refusal(
                "fetch_site",
                format!("the request is {site:?}, not same-origin"),
            );
        }
    }
    match single(headers, &header::ORIGIN) {
        None => Ok(()),
        Some(Ok(origin)) if is_origin_of(origin, host) => Ok(()),
        Some(origin) => {
            let origin = origin.unwrap_or("unreadable");
            refusal(
                "origin",
                format!("`Origin` is {origin:?}, allowed: that of the host {host}"),
            )
        }
    }
}

fn is_origin_of(origin: &str, host: &Authority) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false; // `null` among them
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(origin) = rest.parse::<Authority>() else {
        return false;
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    !rest.contains('@')
        && canonical(origin.host()) == canonical(host.host())
        && port(&origin) == port(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(host: &str) -> bool {
        let hosts = AllowedHosts::new([127, 0, 0, 1].into(), &["Admin.Example.com".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        hosts.check(&headers, &Uri::from_static("/")).is_ok()
    }

    #[test]
    fn loopback_by_any_of_its_names_is_this_host() {
        for host in [
            "localhost",
            "LOCALHOST:9000",
            "localhost.:9000",
            "127.0.0.1:19000",
            "127.1.2.3",
            "[::1]:9000",
            "[::ffff:127.0.0.1]",
            "admin.example.com:443",
        ] {
            assert!(allows(host), "{host}");
        }
    }

    #[test]
    fn a_name_that_only_leads_here_is_not_this_host() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "10.0.0.1:9000",
            "",
        ] {
            assert!(!allows(host), "{host}");
        }
    }

    #[test]
    fn two_hosts_or_none_are_refused() {
        let hosts = AllowedHosts::new([127, 0, 0, 1].into(), &[]);
        let mut headers = HeaderMap::new();
        assert!(hosts.check(&headers, &Uri::from_static("/")).is_err());
        headers.append(header::HOST, "localhost".parse().unwrap());
        let absolute = Uri::from_static("http://evil.example/");
        assert!(hosts.check(&headers, &absolute).is_err());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(hosts.check(&headers, &Uri::from_static("/")).is_err());
    }

    #[test]
    fn an_origin_is_the_same_only_with_scheme_host_and_port() {
        let host = Authority::from_static("localhost:9000");
        assert!(is_origin_of("http://localhost:9000", &host));
        for origin in [
            "null",
            "http://localhost:9001",
            "http://localhost",
            "http://evil.example:9000",
            "http://localhost:9000@evil.example",
            "file://localhost:9000",
        ] {
            assert!(!is_origin_of(origin, &host), "{origin}");
        }
        let plain = Authority::from_static("admin.example.com");
        assert!(is_origin_of("https://admin.example.com", &plain));
    }
}
