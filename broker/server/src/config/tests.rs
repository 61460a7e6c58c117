use super::*;

const BROKER: &str = "node.id=${POD_INDEX}\nlog.dirs=/data\n\
    controller.quorum.voters=1000@a:9093,1001@b:9093,1002@c:9093\n\
    advertised.listeners=PLAINTEXT://demo-broker-${POD_INDEX}.ns.svc:9092\n";

fn roles(text: &str) -> Roles {
    Roles::parse(text).unwrap()
}

fn environment(name: &str) -> Option<String> {
    (name == "POD_INDEX").then(|| "2".to_owned())
}

fn error(text: &str, roles_text: &str) -> String {
    ServerConfig::parse(text, roles(roles_text), environment)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_broker_takes_its_number_from_the_environment() {
    let config = ServerConfig::parse(BROKER, roles("broker"), environment).unwrap();
    let broker = config.broker.unwrap();
    assert_eq!(broker.node_id, 2);
    let clients = broker.client_listener;
    assert_eq!(clients.advertised_host, "demo-broker-2.ns.svc");
    assert_eq!(clients.advertised_port, 9092);
    assert_eq!(broker.replication_listener.listen.port(), 9091);
    assert_eq!(config.voters.len(), 3);
    assert!(config.controller.is_none());
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
}

#[test]
fn clients_are_shown_what_the_file_says() {
    let text = format!(
        "{BROKER}max.connections=7\nfoz.node.id.base=0\n\
         max.incremental.fetch.session.cache.slots=0\nnum.recovery.threads.per.data.dir=3\n\
         foz.shutdown.grace.ms=600000\n"
    );
    let config = ServerConfig::parse(&text, roles("broker"), environment).unwrap();
    let shown = |key: &str| config.statics.get(key).map(String::as_str);
    assert_eq!(config.fetch_sessions_max, 0);
    assert_eq!(config.recovery_threads, Some(3));
    assert_eq!(config.shutdown_grace, Duration::from_secs(600));
    assert_eq!(shown("num.recovery.threads.per.data.dir"), Some("3"));
    assert_eq!(shown("max.connections"), Some("7"));
    assert_eq!(shown("log.dirs"), Some("/data"));
    assert_eq!(shown("node.id"), Some("2"));
    assert_eq!(shown("foz.node.id.base"), None, "no key of a broker");
}

#[test]
fn a_controller_counts_from_its_base() {
    let text = format!("{BROKER}foz.node.id.base=1000\n").replace("advertised.listeners", "#");
    let config = ServerConfig::parse(&text, roles("controller"), environment).unwrap();
    assert_eq!(config.controller.unwrap().node_id, 1002);
}

#[test]
fn both_roles_keep_apart_on_disk() {
    let text = "node.id=0\nlog.dirs=/data\ncontroller.quorum.voters=1000@localhost:9093\n";
    let config = ServerConfig::parse(text, roles("broker,controller"), environment).unwrap();
    assert_eq!(
        config.broker.unwrap().data_dirs,
        [PathBuf::from("/data/broker")]
    );
    assert_eq!(
        config.controller.unwrap().data_dir,
        PathBuf::from("/data/controller")
    );
}

/// With these lines besides.
fn directories(log_dirs: &str, more: &str, roles_text: &str) -> (Vec<PathBuf>, Option<PathBuf>) {
    let text = format!(
        "node.id=0\nlog.dirs={log_dirs}\ncontroller.quorum.voters=1000@localhost:9093\n{more}"
    );
    let text = match roles_text {
        "controller" => text.replace("node.id=0", "node.id=1000"),
        _ => text,
    };
    let config = ServerConfig::parse(&text, roles(roles_text), environment).unwrap();
    let of_broker = config.broker.map(|it| it.data_dirs);
    let of_controller = config.controller.map(|it| it.data_dir);
    (of_broker.unwrap_or_default(), of_controller)
}

#[test]
fn a_broker_has_all_directories_and_a_controller_one() {
    let metadata = "metadata.log.dir=/meta\n";
    for (log_dirs, more, roles_text, of_broker, of_controller) in [
        ("/a", "", "broker", vec!["/a"], None),
        (
            "/a, /b/c ,/b/d",
            "",
            "broker",
            vec!["/a", "/b/c", "/b/d"],
            None,
        ),
        ("/ab,/a", "", "broker", vec!["/ab", "/a"], None),
        // A broker keeps no metadata.
        ("/a,/b", metadata, "broker", vec!["/a", "/b"], None),
        ("/a", "", "controller", vec![], Some("/a")),
        ("/a,/b", metadata, "controller", vec![], Some("/meta")),
        ("/a", metadata, "controller", vec![], Some("/meta")),
        (
            "/a,/b",
            metadata,
            "broker,controller",
            vec!["/a/broker", "/b/broker"],
            Some("/meta/controller"),
        ),
        (
            "/a,/b",
            "metadata.log.dir=/b\n",
            "broker,controller",
            vec!["/a/broker", "/b/broker"],
            Some("/b/controller"),
        ),
    ] {
        let (broker, controller) = directories(log_dirs, more, roles_text);
        let of_broker: Vec<_> = of_broker.into_iter().map(PathBuf::from).collect();
        assert_eq!(broker, of_broker, "{log_dirs} {more} {roles_text}");
        let of_controller = of_controller.map(PathBuf::from);
        assert_eq!(controller, of_controller, "{log_dirs} {more} {roles_text}");
    }
}

#[test]
fn directories_that_cannot_be_are_named() {
    for (log_dirs, roles_text, expected) in [
        ("/a,,/b", "broker", "log.dirs=/a,,/b: a directory before"),
        ("/a,", "broker", "log.dirs=/a,: a directory before"),
        ("/a,/b,/a/", "broker", "log.dirs=/a,/b,/a/: /a/ once"),
        ("/a,/a/b", "broker", "/a/b and /a as neighbours"),
        ("/a/b/c,/a", "broker", "/a and /a/b/c as neighbours"),
        ("", "broker", "log.dirs is missing"),
        ("/a,/b", "controller", "metadata.log.dir is missing"),
        ("/a,/b", "broker,controller", "metadata.log.dir is missing"),
    ] {
        let text = BROKER.replace("log.dirs=/data", &format!("log.dirs={log_dirs}"));
        let node_id = match roles_text {
            "controller" => "1000",
            _ => "0",
        };
        let message = error(
            &text.replace("${POD_INDEX}\nlog", &format!("{node_id}\nlog")),
            roles_text,
        );
        assert!(message.contains(expected), "{message} lacks {expected}");
    }
}

#[test]
fn errors_name_the_key_the_value_and_what_is_right() {
    for (change, expected) in [
        (
            "node.id=${NOWHERE}\n",
            "environment variable NOWHERE is not set",
        ),
        ("node.id=-3\n", "node.id=-3: a number from 0"),
        (
            "node.id=1000\n",
            "node.id=1000: a broker's id is below 1000",
        ),
        (
            "node.id=1\nlisteners=SSL://x:1\n",
            "listeners=SSL://x:1: PLAINTEXT://<host>:<port>",
        ),
        (
            "node.id=1\nretention.mss=1\n",
            "unknown broker config \"retention.mss\"",
        ),
        ("node.id=1\nnode.id=2\n", "node.id is set a second time"),
        (
            "node.id=1\nsocket.request.max.bytes=lots\n",
            "socket.request.max.bytes=lots: a number",
        ),
        ("node.id=1\njust words\n", "\"just words\" is not key=value"),
        (
            "node.id=1\nmax.connections=0\n",
            "invalid value \"0\" for broker config max.connections: it must be a 32-bit number, at least 1",
        ),
        (
            "node.id=1\nnum.recovery.threads.per.data.dir=0\n",
            "num.recovery.threads.per.data.dir=0: a number from 1",
        ),
        (
            "node.id=1\nreplica.selector.class=org.example.Nearest\n",
            "org.apache.kafka.common.replica.RackAwareReplicaSelector, or empty",
        ),
    ] {
        let text = format!("{change}{}", BROKER.replace("node.id=${POD_INDEX}\n", ""));
        let message = error(&text, "broker");
        assert!(message.contains(expected), "{message} lacks {expected}");
    }
    let message = error(
        &BROKER.replace("1002@c:9093", "1002@c:9093,1003@d:9093"),
        "broker",
    );
    assert!(message.contains("1, 3 or 5 controllers"), "{message}");
    let message = error(&BROKER.replace("log.dirs=/data\n", ""), "broker");
    assert!(message.contains("log.dirs is missing"), "{message}");
    let message = error(
        &BROKER.replace("node.id=${POD_INDEX}", "node.id=7"),
        "controller",
    );
    assert!(
        message.contains("one of controller.quorum.voters: 1000, 1001, 1002"),
        "{message}"
    );
}

#[test]
fn lines_may_continue_and_hold_comments() {
    let parsed = parse_properties("# note\n\na=1,\\\n  2\n! note\nb = x=y \n", |_| None).unwrap();
    assert_eq!(parsed["a"], "1,2");
    assert_eq!(parsed["b"], "x=y");
}

#[test]
fn a_number_too_great_for_both_roles_is_refused() {
    let text = BROKER.replace("${POD_INDEX}\nlog", "2147483000\nlog");
    let refused = error(&text, "broker,controller");
    assert!(refused.contains("below 1000"), "{refused}");
}

#[test]
fn nodes_have_a_listener_of_their_own() {
    let listeners = "listeners=PLAINTEXT://0.0.0.0:9092, REPLICATION://0.0.0.0:7000\n\
        inter.broker.listener.name=REPLICATION\n";
    let text = BROKER.replace(
        "svc:9092\n",
        &format!("svc:9092,REPLICATION://pod-2:7001\n{listeners}"),
    );
    let config = ServerConfig::parse(&text, roles("broker"), environment).unwrap();
    let between = config.broker.unwrap().replication_listener;
    assert_eq!(between.listen.port(), 7000);
    assert_eq!(
        (between.advertised_host.as_str(), between.advertised_port),
        ("pod-2", 7001)
    );
    let text = format!("{BROKER}inter.broker.listener.name=PLAINTEXT\n");
    let refused = error(&text, "broker");
    assert!(
        refused.contains("inter.broker.listener.name=PLAINTEXT: REPLICATION"),
        "{refused}"
    );
    let text = format!("{BROKER}listeners=PLAINTEXT://a:1,PLAINTEXT://a:2\n");
    assert!(error(&text, "broker").contains("listeners="));
}
