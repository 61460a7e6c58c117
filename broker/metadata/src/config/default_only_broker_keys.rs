//! The table of Kafka's keys of brokers that switch on what is not here, in alphabetical order.

use super::Effect::{self, Applied, FileOnly};
use super::kind::{Kind, int, long};
use super::{ConfigKey, Support};

const ACLS: &str = "there are no ACLs in this version";
const CLASSES: &str = "there is no JVM here that could load a class";
const CONNECTIONS: &str = "max.connections alone limits connections in this version";
const SASL: &str = "there is no SASL in this version";
pub(super) const TIERED: &str = "there is no tiered storage in this version";
const TLS: &str = "there is no TLS in this version";
const TOKENS: &str = "there are no delegation tokens in this version";

/// Keys that may have their default alone: whoever sets one relies on what it does, and what it does is often
/// to keep somebody out.
pub const DEFAULT_ONLY_BROKER_KEYS: &[ConfigKey] = &[
    of_file("alter.config.policy.class.name", Kind::Class, None, CLASSES),
    of_file("authorizer.class.name", Kind::Text, Some(""), ACLS),
    of_file(
        "broker.id",
        int(i32::MIN),
        Some("-1"),
        "a node has its number from node.id",
    ),
    of_file("client.quota.callback.class", Kind::Class, None, CLASSES),
    of_requests("config.providers", Kind::List(&[]), Some(""), CLASSES),
    of_file("connections.max.reauth.ms", long(i64::MIN), Some("0"), SASL),
    of_file(
        "controlled.shutdown.enable",
        Kind::Boolean,
        Some("true"),
        "a broker that stops always hands its leadership over",
    ),
    of_file(
        "controller.quorum.auto.join.enable",
        Kind::Boolean,
        Some("false"),
        "the controllers are those of controller.quorum.voters, and what was added by request",
    ),
    of_requests(
        "cordoned.log.dirs",
        Kind::List(&[]),
        Some(""),
        "no directory can be cordoned in this version",
    ),
    of_file("create.topic.policy.class.name", Kind::Class, None, CLASSES),
    of_file("delegation.token.secret.key", Kind::Password, None, TOKENS),
    of_file("early.start.listeners", Kind::List(&[]), None, ACLS),
    of_requests(
        "max.connection.creation.rate",
        int(0),
        Some("2147483647"),
        CONNECTIONS,
    ),
    of_requests(
        "max.connections.per.ip",
        int(0),
        Some("2147483647"),
        CONNECTIONS,
    ),
    of_requests(
        "max.connections.per.ip.overrides",
        Kind::Text,
        Some(""),
        CONNECTIONS,
    ),
    of_file(
        "offsets.topic.compression.codec",
        int(i32::MIN),
        Some("0"),
        "the records of groups are written as they are",
    ),
    of_requests(
        "principal.builder.class",
        Kind::Class,
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"),
        CLASSES,
    ),
    of_file(
        "remote.log.storage.system.enable",
        Kind::Boolean,
        Some("false"),
        TIERED,
    ),
    of_file(
        "sasl.client.callback.handler.class",
        Kind::Class,
        None,
        SASL,
    ),
    of_requests(
        "sasl.enabled.mechanisms",
        Kind::List(&[]),
        Some("GSSAPI"),
        SASL,
    ),
    of_requests("sasl.jaas.config", Kind::Password, None, SASL),
    of_requests(
        "sasl.kerberos.kinit.cmd",
        Kind::Text,
        Some("/usr/bin/kinit"),
        SASL,
    ),
    of_requests(
        "sasl.kerberos.min.time.before.relogin",
        long(i64::MIN),
        Some("60000"),
        SASL,
    ),
    of_requests(
        "sasl.kerberos.principal.to.local.rules",
        Kind::List(&[]),
        Some("DEFAULT"),
        SASL,
    ),
    of_requests("sasl.kerberos.service.name", Kind::Text, None, SASL),
    of_requests(
        "sasl.kerberos.ticket.renew.jitter",
        Kind::Double(f64::MIN, f64::MAX),
        Some("0.05"),
        SASL,
    ),
    of_requests(
        "sasl.kerberos.ticket.renew.window.factor",
        Kind::Double(f64::MIN, f64::MAX),
        Some("0.8"),
        SASL,
    ),
    of_file("sasl.login.callback.handler.class", Kind::Class, None, SASL),
    of_file("sasl.login.class", Kind::Class, None, SASL),
    of_file("sasl.login.connect.timeout.ms", int(i32::MIN), None, SASL),
    of_file("sasl.login.read.timeout.ms", int(i32::MIN), None, SASL),
    of_requests(
        "sasl.login.refresh.buffer.seconds",
        Kind::Short(i16::MIN, i16::MAX),
        Some("300"),
        SASL,
    ),
    of_requests(
        "sasl.login.refresh.min.period.seconds",
        Kind::Short(i16::MIN, i16::MAX),
        Some("60"),
        SASL,
    ),
    of_requests(
        "sasl.login.refresh.window.factor",
        Kind::Double(f64::MIN, f64::MAX),
        Some("0.8"),
        SASL,
    ),
    of_requests(
        "sasl.login.refresh.window.jitter",
        Kind::Double(f64::MIN, f64::MAX),
        Some("0.05"),
        SASL,
    ),
    of_file(
        "sasl.login.retry.backoff.max.ms",
        long(i64::MIN),
        Some("10000"),
        SASL,
    ),
    of_file(
        "sasl.login.retry.backoff.ms",
        long(i64::MIN),
        Some("100"),
        SASL,
    ),
    of_file(
        "sasl.mechanism.controller.protocol",
        Kind::Text,
        Some("GSSAPI"),
        SASL,
    ),
    of_requests(
        "sasl.mechanism.inter.broker.protocol",
        Kind::Text,
        Some("GSSAPI"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.algorithm",
        Kind::Text,
        Some("RS256"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.claim.aud",
        Kind::Text,
        None,
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        int(i32::MIN),
        Some("300"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.claim.iss",
        Kind::Text,
        None,
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.claim.jti.include",
        Kind::Boolean,
        Some("false"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        int(i32::MIN),
        Some("60"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.claim.sub",
        Kind::Text,
        None,
        SASL,
    ),
    of_file("sasl.oauthbearer.assertion.file", Kind::Text, None, SASL),
    of_file(
        "sasl.oauthbearer.assertion.private.key.file",
        Kind::Text,
        None,
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.private.key.passphrase",
        Kind::Password,
        None,
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.assertion.template.file",
        Kind::Text,
        None,
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.client.credentials.client.id",
        Kind::Text,
        None,
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.client.credentials.client.secret",
        Kind::Password,
        None,
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.clock.skew.seconds",
        int(i32::MIN),
        Some("30"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.expected.audience",
        Kind::List(&[]),
        Some(""),
        SASL,
    ),
    of_file("sasl.oauthbearer.expected.issuer", Kind::Text, None, SASL),
    of_file(
        "sasl.oauthbearer.jwks.endpoint.refresh.ms",
        long(i64::MIN),
        Some("3600000"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
        long(i64::MIN),
        Some("10000"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
        long(i64::MIN),
        Some("100"),
        SASL,
    ),
    of_file("sasl.oauthbearer.jwks.endpoint.url", Kind::Text, None, SASL),
    of_file(
        "sasl.oauthbearer.jwt.retriever.class",
        Kind::Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.jwt.validator.class",
        Kind::Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"),
        SASL,
    ),
    of_file("sasl.oauthbearer.scope", Kind::Text, None, SASL),
    of_file(
        "sasl.oauthbearer.scope.claim.name",
        Kind::Text,
        Some("scope"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.sub.claim.name",
        Kind::Text,
        Some("sub"),
        SASL,
    ),
    of_file(
        "sasl.oauthbearer.token.endpoint.url",
        Kind::Text,
        None,
        SASL,
    ),
    of_file(
        "sasl.server.callback.handler.class",
        Kind::Class,
        None,
        SASL,
    ),
    of_file(
        "sasl.server.max.receive.size",
        int(i32::MIN),
        Some("524288"),
        SASL,
    ),
    of_file(
        "security.inter.broker.protocol",
        Kind::Text,
        Some("PLAINTEXT"),
        TLS,
    ),
    of_file("security.providers", Kind::Text, None, TLS),
    of_file("ssl.allow.dn.changes", Kind::Boolean, Some("false"), TLS),
    of_file("ssl.allow.san.changes", Kind::Boolean, Some("false"), TLS),
    of_requests("ssl.cipher.suites", Kind::List(&[]), Some(""), TLS),
    of_requests("ssl.client.auth", Kind::Text, Some("none"), TLS),
    of_requests(
        "ssl.enabled.protocols",
        Kind::List(&[]),
        Some("TLSv1.2,TLSv1.3"),
        TLS,
    ),
    of_requests(
        "ssl.endpoint.identification.algorithm",
        Kind::Text,
        Some("https"),
        TLS,
    ),
    of_requests("ssl.engine.factory.class", Kind::Class, None, TLS),
    of_requests("ssl.key.password", Kind::Password, None, TLS),
    of_requests("ssl.keymanager.algorithm", Kind::Text, Some("SunX509"), TLS),
    of_requests("ssl.keystore.certificate.chain", Kind::Password, None, TLS),
    of_requests("ssl.keystore.key", Kind::Password, None, TLS),
    of_requests("ssl.keystore.location", Kind::Text, None, TLS),
    of_requests("ssl.keystore.password", Kind::Password, None, TLS),
    of_requests("ssl.keystore.type", Kind::Text, Some("JKS"), TLS),
    of_file(
        "ssl.principal.mapping.rules",
        Kind::Text,
        Some("DEFAULT"),
        TLS,
    ),
    of_requests("ssl.protocol", Kind::Text, Some("TLSv1.3"), TLS),
    of_requests("ssl.provider", Kind::Text, None, TLS),
    of_requests("ssl.secure.random.implementation", Kind::Text, None, TLS),
    of_requests("ssl.trustmanager.algorithm", Kind::Text, Some("PKIX"), TLS),
    of_requests("ssl.truststore.certificates", Kind::Password, None, TLS),
    of_requests("ssl.truststore.location", Kind::Text, None, TLS),
    of_requests("ssl.truststore.password", Kind::Password, None, TLS),
    of_requests("ssl.truststore.type", Kind::Text, Some("JKS"), TLS),
    of_file(
        "transaction.two.phase.commit.enable",
        Kind::Boolean,
        Some("false"),
        "there are no transactions in two phases in this version",
    ),
];

/// Kafka reads it once, at start.
const fn of_file(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    why: &'static str,
) -> ConfigKey {
    default_only(name, kind, default, why, FileOnly)
}

/// A request can set it, as Kafka lets it.
const fn of_requests(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    why: &'static str,
) -> ConfigKey {
    default_only(name, kind, default, why, Applied)
}

const fn default_only(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    why: &'static str,
    effect: Effect,
) -> ConfigKey {
    let documentation = "Only the default is supported in this version.";
    let mut key = ConfigKey::broker(name, kind, default, effect, documentation);
    key.support = Support::DefaultOnly(why);
    key
}
