//! What differs from run to run, or may be worded as one likes, is replaced by what it is.

/// In the paths of what a node keeps.
const FOLDER: &str = "/answers/node";
const HOST: &str = "127.0.0.1:";

/// What an answer's line says, so that two brokers can be compared.
pub(crate) fn alike(path: &str, value: &str) -> String {
    let field = path.rsplit('.').next().unwrap_or(path);
    let field = field.split('[').next().unwrap_or(field);
    let number = value.parse::<i64>().ok();
    let is_text = value.starts_with('"');
    match field {
        // Their words are not part of the protocol.
        "error_message" | "batch_index_error_message" | "documentation" => {
            let is_said = is_text && value != "\"\"";
            if is_said { "<text>" } else { "<none>" }.to_owned()
        }
        // Ids that brokers make for members of KIP-848 have one without dashes.
        "member_id" if is_base64_uuid(value) => "\"<uuid>\"".to_owned(),
        _ if value.contains(FOLDER) => "<path>".to_owned(),
        "topic_id" | "cluster_id" | "directory_id" | "log_dir" | "incarnation_id"
            if !value.contains("-0000-0000-0000-") && value != "None" =>
        {
            "<id>".to_owned()
        }
        "port" => "<port>".to_owned(),
        "producer_id" | "session_id" if number.is_some_and(|id| id > 0) => "<id>".to_owned(),
        "total_bytes" | "usable_bytes" | "partition_size"
            if number.is_some_and(|size| size >= 0) =>
        {
            "<bytes>".to_owned()
        }
        // Milliseconds since 1970.
        _ if number.is_some_and(|time| time > 1_600_000_000_000 && time < 4_000_000_000_000) => {
            "<time>".to_owned()
        }
        _ => without_ports(&without_uuids(value)),
    }
}

fn is_base64_uuid(value: &str) -> bool {
    const LENGTH: usize = 22;
    let text = value.trim_matches('"');
    text.len() == LENGTH
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn without_ports(text: &str) -> String {
    let mut parts = text.split(HOST);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(HOST);
        out.push_str("<port>");
        out.push_str(part.trim_start_matches(|next: char| next.is_ascii_digit()));
    }
    out
}

/// Ids of classic members end in one.
fn without_uuids(text: &str) -> String {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    const LENGTH: usize = 36;
    let bytes = text.as_bytes();
    let is_uuid = |part: &[u8]| {
        part.len() == LENGTH
            && part.iter().enumerate().all(|(at, byte)| {
                if DASHES.contains(&at) {
                    *byte == b'-'
                } else {
                    byte.is_ascii_hexdigit()
                }
            })
            && part.iter().any(|byte| !matches!(byte, b'0' | b'-'))
    };
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if is_uuid(&bytes[at..bytes.len().min(at + LENGTH)]) {
            out.extend_from_slice(b"<uuid>");
            at += LENGTH;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_two_runs_share_is_replaced_and_nothing_else() {
        for (path, value, expected) in [
            (
                "topics[t].topic_id",
                "0f5e3a90-1111-2222-3333-0123456789ab",
                "<id>",
            ),
            (
                "topics[t].topic_id",
                "00000000-0000-0000-0000-000000000000",
                "00000000-0000-0000-0000-000000000000",
            ),
            ("brokers[0].port", "9092", "<port>"),
            ("error_message", "\"no\"", "<text>"),
            ("error_message", "None", "<none>"),
            ("error_code", "3", "3"),
            ("producer_id", "-1", "-1"),
            ("producer_id", "4000", "<id>"),
            ("offsets[0].timestamp", "1700000000123", "<time>"),
            (
                "member_id",
                "\"c-0f5e3a90-1111-2222-3333-0123456789ab\"",
                "\"c-<uuid>\"",
            ),
            ("offset", "12", "12"),
        ] {
            assert_eq!(alike(path, value), expected, "{path} {value}");
        }
    }
}
