//! The servers behind a URL, one by one.
//!
//! tokio-postgres tries them itself, but does not say which one it got to; a
//! cancellation must go to that one, and a server that takes a connection and then
//! says nothing must leave time for the next.

use std::{io, net::SocketAddr, path::PathBuf};

use tokio::net::lookup_host;
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts},
};

/// Where one server is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// What its certificate is to say; empty: nothing.
    pub(super) host_name: String,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What to connect to with which configuration, in the order in which to try.
pub(super) async fn each(config: &Config) -> io::Result<Vec<(Config, Address)>> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let mut found = Vec::new();
    let mut failure = None;
    for index in 0..hosts.len().max(addresses.len()) {
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let host = hosts.get(index);
        if let Some(Host::Unix(directory)) = host {
            let mut one = without_hosts(config);
            one.host_path(directory).port(port);
            let place = Place::Unix(directory.join(format!(".s.PGSQL.{port}")));
            let host_name = String::new();
            found.push((one, Address { host_name, place }));
            continue;
        }
        let host_name = match host {
            Some(Host::Tcp(name)) => name.clone(),
            _ => String::new(),
        };
        let resolved: Vec<SocketAddr> = match addresses.get(index) {
            Some(ip) => vec![(*ip, port).into()],
            None => match lookup_host((host_name.as_str(), port)).await {
                Ok(resolved) => resolved.collect(),
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            },
        };
        for at in resolved {
            let mut one = without_hosts(config);
            one.hostaddr(at.ip()).port(port);
            if !host_name.is_empty() {
                one.host(&host_name);
            }
            let address = Address {
                host_name: host_name.clone(),
                place: Place::Tcp(at),
            };
            found.push((one, address));
        }
    }
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        fastrand::shuffle(&mut found);
    }
    match (found.is_empty(), failure) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(io::Error::other("the URL names no host")),
        (false, _) => Ok(found),
    }
}

/// A configuration has no way to forget its hosts.
fn without_hosts(config: &Config) -> Config {
    let mut one = Config::new();
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(url: &str) -> Vec<(Config, Address)> {
        each(&url.parse().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn each_server_keeps_all_but_the_others() {
        let url = "postgres://me:secret@127.0.0.1:1,127.0.0.2:2/app?application_name=x\
             &target_session_attrs=read-write&sslmode=disable&connect_timeout=3&keepalives_idle=7";
        let servers = of(url).await;
        let whole: Config = url.parse().unwrap();
        for ((one, address), port) in servers.iter().zip([1, 2]) {
            let mut expected = without_hosts(&whole);
            let Place::Tcp(at) = &address.place else {
                panic!("{address:?}");
            };
            expected
                .hostaddr(at.ip())
                .port(port)
                .host(&address.host_name);
            assert_eq!(one, &expected);
            assert_eq!(at.port(), port);
        }
        assert_eq!(servers.len(), 2);
        // All that a configuration has, but for its hosts.
        let mut again = without_hosts(&whole);
        again.host("127.0.0.1").port(1).host("127.0.0.2").port(2);
        assert_eq!(again, whole);
    }

    #[tokio::test]
    async fn a_socket_is_a_place_too_and_a_name_that_is_none_an_error() {
        let [(_, address)] = &of("host=/run/postgresql port=6000").await[..] else {
            panic!("one");
        };
        let Place::Unix(path) = &address.place else {
            panic!("{address:?}");
        };
        assert_eq!(path.to_str(), Some("/run/postgresql/.s.PGSQL.6000"));
        assert!(each(&Config::new()).await.is_err());
    }
}
