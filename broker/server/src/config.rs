//! `server.properties`: read once, checked once.
//!
//! Keys are Kafka's; those of our own begin with `foz.`. Everything that can change while the process
//! runs lives in the metadata log instead, so this file holds only what a start needs. Keys that brokers
//! have are kept in [`ServerConfig::statics`] as static broker configuration.

mod directories;
mod properties;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use foz_metadata::config::{self as keys, Scope};
use foz_replication::SessionLimits;

use crate::net::budget::RequestBudget;

use directories::directories;
pub(crate) use properties::{PropertiesError, parse_properties};

/// Controllers are numbered from here, so that no broker ever shares a number with one.
pub(crate) const CONTROLLER_ID_FIRST: i32 = 1000;

/// For clients.
const CLIENT_LISTENER: &str = "PLAINTEXT";
/// For the other nodes, and nobody else.
const REPLICATION_LISTENER: &str = "REPLICATION";
const REPLICATION_PORT: u16 = 9091;

/// Which halves of the design this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    /// A member of the metadata quorum.
    pub(crate) controller: bool,
    /// Serves clients.
    pub(crate) broker: bool,
}

/// A controller of the quorum and where its gRPC listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VoterAddress {
    /// From 1000.
    pub(crate) node_id: i32,
    /// `host:port`.
    pub(crate) address: String,
}

/// What the role `controller` needs.
#[derive(Debug, Clone)]
pub(crate) struct ControllerRole {
    /// Of the controller, from 1000.
    pub(crate) node_id: i32,
    /// Where the gRPC listener binds.
    pub(crate) listen: SocketAddr,
    /// Holds the quorum's log.
    pub(crate) data_dir: PathBuf,
}

/// Where a listener binds and how others find it.
#[derive(Debug, Clone)]
pub(crate) struct ListenerConfig {
    /// Port 0 is any that is free.
    pub(crate) listen: SocketAddr,
    /// What others are told to connect to.
    pub(crate) advertised_host: String,
    /// What others are told to connect to; 0 means the port that was bound.
    pub(crate) advertised_port: u16,
}

/// What the role `broker` needs.
#[derive(Debug, Clone)]
pub(crate) struct BrokerRole {
    /// Of the broker, from 0.
    pub(crate) node_id: i32,
    /// Where clients connect to.
    pub(crate) client_listener: ListenerConfig,
    /// Where the other nodes fetch from.
    pub(crate) replication_listener: ListenerConfig,
    /// Hold the partitions, at least one.
    pub(crate) data_dirs: Vec<PathBuf>,
    /// The failure domain this broker says it is in.
    pub(crate) rack: Option<String>,
}

/// The checked configuration of one process.
#[derive(Debug, Clone)]
pub(crate) struct ServerConfig {
    /// Set when the process runs as controller.
    pub(crate) controller: Option<ControllerRole>,
    /// Set when the process runs as broker.
    pub(crate) broker: Option<BrokerRole>,
    /// The first voters of the quorum, at least one.
    pub(crate) voters: Vec<VoterAddress>,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub(crate) http_listen: SocketAddr,
    /// Bytes of requests and of responses that may be in memory at once, each.
    pub(crate) memory_budget_bytes: usize,
    /// The greatest request frame.
    pub(crate) request_bytes_max: usize,
    /// How long a client connection may be idle; `None` is for ever.
    pub(crate) connection_idle_max: Option<Duration>,
    /// Fetch sessions that are remembered.
    pub(crate) fetch_sessions_max: usize,
    /// Logs that are recovered at once; `None`: as many as there are processors.
    pub(crate) recovery_threads: Option<usize>,
    /// From SIGTERM until whoever sent it kills the process.
    pub(crate) shutdown_grace: Duration,
    /// What the file says of the keys that brokers have: static broker configuration.
    pub(crate) statics: BTreeMap<String, String>,
}

/// What is wrong in the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The text is not properties.
    #[error(transparent)]
    Properties(#[from] PropertiesError),
    /// A key that must be there is not.
    #[error("{key} is missing: {needed}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it must hold.
        needed: &'static str,
    },
    /// A value that cannot be right.
    #[error("{key}={value}: {needed}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What would be right.
        needed: String,
    },
    /// A key that brokers do not have, or a value that it cannot have.
    #[error(transparent)]
    Broker(#[from] keys::ConfigError),
}

impl Roles {
    /// From `broker`, `controller` or both with a comma between.
    ///
    /// # Errors
    /// A sentence that names the role at fault.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut roles = Self {
            controller: false,
            broker: false,
        };
        for role in text.split(',').map(str::trim) {
            match role {
                "controller" => roles.controller = true,
                "broker" => roles.broker = true,
                _ => {
                    return Err(format!(
                        "role {role:?} is unknown: broker, controller or broker,controller"
                    ));
                }
            }
        }
        Ok(roles)
    }
}

impl ServerConfig {
    /// Checks `text` for a process with these roles; `environment` answers what `${NAME}` stands for.
    ///
    /// # Errors
    /// The first thing that is wrong, naming the key, the value and what would be right.
    pub(crate) fn parse(
        text: &str,
        roles: Roles,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let properties = parse_properties(text, environment)?;
        let mut keys = Unused(properties.clone());
        let voters = parse_voters(&keys.require(
            "controller.quorum.voters",
            "the controllers as 1000@host:port,1001@host:port",
        )?)?;
        let (broker_id, controller_id) = node_ids(&mut keys, roles, &voters)?;
        let data = directories(&mut keys, roles)?;
        let controller = match controller_id.zip(data.controller) {
            Some((node_id, data_dir)) => Some(ControllerRole {
                node_id,
                listen: keys.address("controller.listener", "0.0.0.0:9093")?,
                data_dir,
            }),
            None => None,
        };
        let broker = match broker_id {
            Some(node_id) => Some(broker_role(&mut keys, node_id, data.broker)?),
            None => None,
        };
        let mut config = Self {
            controller,
            broker,
            voters,
            http_listen: keys.address("foz.http.listener", "0.0.0.0:9644")?,
            memory_budget_bytes: keys.number("foz.memory.budget.bytes", 128 << 20, 1 << 20)?,
            request_bytes_max: keys.number("socket.request.max.bytes", 100 << 20, 1 << 10)?,
            connection_idle_max: keys.milliseconds("connections.max.idle.ms", 600_000)?,
            fetch_sessions_max: keys.number(
                "max.incremental.fetch.session.cache.slots",
                SessionLimits::default().slots_max,
                0,
            )?,
            recovery_threads: keys.optional_number("num.recovery.threads.per.data.dir", 1)?,
            shutdown_grace: Duration::from_millis(
                keys.number("foz.shutdown.grace.ms", 30_000, 0)? as u64
            ),
            statics: keys.0,
        };
        config.check()?;
        // Clients that ask for the configuration see these, too.
        let taken = properties.into_iter();
        config
            .statics
            .extend(taken.filter(|(key, _)| Scope::Broker.key(key).is_some()));
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let least = self.request_bytes_max + RequestBudget::USUAL_BYTES_LEAST;
        if self.memory_budget_bytes < least {
            return Err(value_error(
                "foz.memory.budget.bytes",
                &self.memory_budget_bytes.to_string(),
                &format!("at least socket.request.max.bytes and 8 MiB beside it: {least}"),
            ));
        }
        for (key, value) in &self.statics {
            keys::validate_in_file(key, value)?;
        }
        Ok(())
    }
}

fn node_ids(
    keys: &mut Unused,
    roles: Roles,
    voters: &[VoterAddress],
) -> Result<(Option<i32>, Option<i32>), ConfigError> {
    let base = keys.number("foz.node.id.base", 0, 0)? as i32;
    let text = keys.require("node.id", "the number of this node")?;
    let given: i32 = text
        .parse()
        .ok()
        .filter(|id| (0..i32::MAX - base).contains(id))
        .ok_or_else(|| value_error("node.id", &text, "a number from 0"))?;
    let node_id = base + given;
    let broker_id = roles.broker.then_some(node_id);
    // A process with both roles has two numbers: brokers count from 0, controllers from 1000.
    let controller_id = roles.controller.then_some(if roles.broker {
        CONTROLLER_ID_FIRST.saturating_add(node_id)
    } else {
        node_id
    });
    if let Some(id) = broker_id
        && id >= CONTROLLER_ID_FIRST
    {
        return Err(value_error(
            "node.id",
            &id.to_string(),
            "a broker's id is below 1000",
        ));
    }
    if let Some(id) = controller_id
        && !voters.iter().any(|voter| voter.node_id == id)
    {
        let known: Vec<String> = voters
            .iter()
            .map(|voter| voter.node_id.to_string())
            .collect();
        return Err(value_error(
            "node.id",
            &id.to_string(),
            &format!(
                "a controller's id is one of controller.quorum.voters: {}",
                known.join(", ")
            ),
        ));
    }
    Ok((broker_id, controller_id))
}

fn broker_role(
    keys: &mut Unused,
    node_id: i32,
    data_dirs: Vec<PathBuf>,
) -> Result<BrokerRole, ConfigError> {
    let mut bound = keys.listeners("listeners")?;
    let mut advertised = keys.listeners("advertised.listeners")?;
    let between = keys.0.remove("inter.broker.listener.name");
    if let Some(name) = between.filter(|name| name != REPLICATION_LISTENER) {
        let needed = format!("{REPLICATION_LISTENER}: nodes have a listener of their own");
        return Err(value_error("inter.broker.listener.name", &name, &needed));
    }
    let (host, port) = bound
        .remove(CLIENT_LISTENER)
        .unwrap_or_else(|| ("0.0.0.0".to_owned(), 9092));
    let between = bound.remove(REPLICATION_LISTENER);
    let between = between.unwrap_or_else(|| (host.clone(), REPLICATION_PORT));
    let mut role = |name: &'static str, (host, port): (String, u16)| {
        let (advertised_host, advertised_port) = advertised
            .remove(name)
            .unwrap_or_else(|| (local_name(&host), port));
        let listen = format!("{}:{port}", if host.is_empty() { "0.0.0.0" } else { &host });
        let listen = listen.parse().map_err(|_| {
            let needed =
                format!("{name}://<address to bind>:<port>, such as {name}://0.0.0.0:9092");
            value_error("listeners", &listen, &needed)
        })?;
        Ok::<_, ConfigError>(ListenerConfig {
            listen,
            advertised_host,
            advertised_port,
        })
    };
    Ok(BrokerRole {
        node_id,
        client_listener: role(CLIENT_LISTENER, (host, port))?,
        replication_listener: role(REPLICATION_LISTENER, between)?,
        data_dirs,
        rack: keys.0.remove("broker.rack"),
    })
}

/// A wildcard is no address that a client could connect to.
fn local_name(host: &str) -> String {
    if matches!(host, "0.0.0.0" | "") {
        "localhost".to_owned()
    } else {
        host.to_owned()
    }
}

fn parse_voters(text: &str) -> Result<Vec<VoterAddress>, ConfigError> {
    let wrong = |needed: &str| value_error("controller.quorum.voters", text, needed);
    let mut voters: Vec<VoterAddress> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (id, address) = part
            .split_once('@')
            .ok_or_else(|| wrong("each controller is <node id>@<host>:<port>"))?;
        let node_id = id
            .parse()
            .ok()
            .filter(|id| *id >= CONTROLLER_ID_FIRST)
            .ok_or_else(|| wrong("controllers are numbered from 1000"))?;
        let port = address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(wrong("each controller is <node id>@<host>:<port>"));
        }
        if voters.iter().any(|voter| voter.node_id == node_id) {
            return Err(wrong("no node id twice"));
        }
        voters.push(VoterAddress {
            node_id,
            address: address.to_owned(),
        });
    }
    if !matches!(voters.len(), 1 | 3 | 5) {
        return Err(wrong("1, 3 or 5 controllers"));
    }
    Ok(voters)
}

/// The keys that have not been taken yet.
struct Unused(BTreeMap<String, String>);

impl Unused {
    fn require(&mut self, key: &'static str, needed: &'static str) -> Result<String, ConfigError> {
        self.0
            .remove(key)
            .filter(|value| !value.is_empty())
            .ok_or(ConfigError::Missing { key, needed })
    }

    fn number(&mut self, key: &str, default: usize, least: usize) -> Result<usize, ConfigError> {
        let Some(text) = self.0.remove(key) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|number| *number >= least && *number <= i32::MAX as usize)
            .ok_or_else(|| value_error(key, &text, &format!("a number from {least} to 2147483647")))
    }

    fn optional_number(&mut self, key: &str, least: usize) -> Result<Option<usize>, ConfigError> {
        self.0
            .contains_key(key)
            .then(|| self.number(key, least, least))
            .transpose()
    }

    /// `None` for a negative number: no limit.
    fn milliseconds(&mut self, key: &str, default: u64) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.0.get(key) else {
            return Ok(Some(Duration::from_millis(default)));
        };
        match text.parse::<i64>() {
            Ok(milliseconds) => Ok(u64::try_from(milliseconds).ok().map(Duration::from_millis)),
            Err(_) => Err(value_error(key, text, "a number of milliseconds")),
        }
    }

    fn address(&mut self, key: &str, default: &str) -> Result<SocketAddr, ConfigError> {
        let text = self.0.remove(key).unwrap_or_else(|| default.to_owned());
        text.parse()
            .map_err(|_| value_error(key, &text, "<address to bind>:<port>"))
    }

    /// A list of `<name>://<host>:<port>`, by name; empty when the key is not there.
    fn listeners(
        &mut self,
        key: &'static str,
    ) -> Result<BTreeMap<String, (String, u16)>, ConfigError> {
        let mut found = BTreeMap::new();
        let Some(text) = self.0.remove(key) else {
            return Ok(found);
        };
        let wrong = || {
            let needed = format!(
                "{CLIENT_LISTENER}://<host>:<port>, and after a comma {REPLICATION_LISTENER}://<host>:<port>"
            );
            value_error(key, &text, &needed)
        };
        for listener in text.split(',').map(str::trim) {
            let (name, address) = listener.split_once("://").ok_or_else(wrong)?;
            let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
            let port = port.parse().map_err(|_| wrong())?;
            let is_known = [CLIENT_LISTENER, REPLICATION_LISTENER].contains(&name);
            if !is_known
                || found
                    .insert(name.to_owned(), (host.to_owned(), port))
                    .is_some()
            {
                return Err(wrong());
            }
        }
        Ok(found)
    }
}

fn value_error(key: &str, value: &str, needed: &str) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        needed: needed.to_owned(),
    }
}

#[cfg(test)]
mod tests;
