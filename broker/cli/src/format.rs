//! How `foz consume` prints a message.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::message::ReceivedMessage;

/// A format string, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Key,
    Value,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

impl Format {
    /// The value and a line break.
    #[must_use]
    pub fn values() -> Self {
        Self {
            parts: vec![Part::Value, Part::Text(b"\n".to_vec())],
        }
    }

    /// Reads a format like kcat's: `%k` key, `%v` (or `%s`) value, `%t` topic, `%p` partition, `%o`
    /// offset, `%T` timestamp in ms, `%h` headers, `%%` a percent sign; `\n \t \r \0 \\` and `\xHH`.
    ///
    /// # Errors
    /// A sentence that names what is wrong and lists what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => {
                    let Some(part) = directive(chars.next())? else {
                        plain.push(b'%');
                        continue;
                    };
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(part);
                }
                '\\' => plain.push(escape(&mut chars)?),
                c => plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Prints one message. Null keys and values are the word `null`, as in Kafka's console consumer.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, message: &ReceivedMessage, out: &mut impl Write) -> io::Result<()> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.write_all(text)?,
                Part::Key => out.write_all(or_null(message.key.as_ref()))?,
                Part::Value => out.write_all(or_null(message.value.as_ref()))?,
                Part::Topic => out.write_all(message.topic.as_bytes())?,
                Part::Partition => write!(out, "{}", message.partition)?,
                Part::Offset => write!(out, "{}", message.offset)?,
                Part::Timestamp => write!(out, "{}", message.timestamp_ms)?,
                Part::Headers => {
                    for (at, (name, value)) in message.headers.iter().enumerate() {
                        write!(out, "{}{name}=", if at == 0 { "" } else { "," })?;
                        out.write_all(or_null(value.as_ref()))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn directive(c: Option<char>) -> Result<Option<Part>, String> {
    Ok(Some(match c {
        Some('k') => Part::Key,
        Some('v' | 's') => Part::Value,
        Some('t') => Part::Topic,
        Some('p') => Part::Partition,
        Some('o') => Part::Offset,
        Some('T') => Part::Timestamp,
        Some('h') => Part::Headers,
        Some('%') => return Ok(None),
        other => {
            let found = other.map_or("% at the end".to_owned(), |c| format!("%{c}"));
            return Err(format!(
                "{found} is not known: write %k (key), %v (value), %t (topic), %p (partition), \
                 %o (offset), %T (timestamp), %h (headers) or %%"
            ));
        }
    }))
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = chars.take(2).collect();
            let both = digits.len() == 2 && digits.bytes().all(|it| it.is_ascii_hexdigit());
            let byte = both.then(|| u8::from_str_radix(&digits, 16).ok()).flatten();
            byte.ok_or_else(|| format!("\\x{digits} is not a byte: write two hexadecimal digits"))
        }
        other => {
            let found = other.map_or("\\ at the end".to_owned(), |c| format!("\\{c}"));
            Err(format!(
                "{found} is not known: write \\n, \\t, \\r, \\0, \\\\ or \\xHH"
            ))
        }
    }
}

fn or_null(bytes: Option<&Bytes>) -> &[u8] {
    bytes.map_or(b"null", |bytes| &bytes[..])
}

/// One message as a JSON object on a line. Bytes that are not UTF-8 become `{"base64": "..."}`.
#[must_use]
pub fn to_json(message: &ReceivedMessage) -> Value {
    let headers: Vec<Value> = message
        .headers
        .iter()
        .map(|(name, value)| json!({"name": name, "value": bytes_to_json(value.as_ref())}))
        .collect();
    json!({
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp_ms,
        "key": bytes_to_json(message.key.as_ref()),
        "value": bytes_to_json(message.value.as_ref()),
        "headers": headers,
    })
}

fn bytes_to_json(bytes: Option<&Bytes>) -> Value {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => Value::Null,
        Some(Ok(text)) => Value::String(text.to_owned()),
        Some(Err(bytes)) => json!({"base64": STANDARD.encode(bytes)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> ReceivedMessage {
        ReceivedMessage {
            topic: "orders".into(),
            partition: 2,
            offset: 41,
            timestamp_ms: 1000,
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v\xff")),
            headers: vec![
                ("a".into(), Some(Bytes::from_static(b"1"))),
                ("b".into(), None),
            ],
        }
    }

    fn print(format: &str, message: &ReceivedMessage) -> Vec<u8> {
        let mut out = Vec::new();
        Format::parse(format)
            .unwrap()
            .write(message, &mut out)
            .unwrap();
        out
    }

    #[test]
    fn every_directive_and_escape() {
        let text = print(
            "%t %p %o %T %k=%v [%h] 100%%\\t\\x41\\0\\\\\\r\\n",
            &message(),
        );
        assert_eq!(
            text,
            b"orders 2 41 1000 k=v\xff [a=1,b=null] 100%\tA\0\\\r\n"
        );
        let mut nulls = message();
        nulls.key = None;
        nulls.value = None;
        nulls.headers.clear();
        assert_eq!(print("%k:%s:%h;ü", &nulls), "null:null:;ü".as_bytes());
    }

    #[test]
    fn the_default_is_the_value_and_a_line_break() {
        assert_eq!(Format::parse("%v\\n"), Ok(Format::values()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (format, found) in [
            ("%x", "%x is not known"),
            ("%", "% at the end"),
            ("\\q", "\\q is not known"),
            ("\\", "\\ at the end"),
            ("\\x4", "\\x4 is not a byte"),
            ("\\xzz", "\\xzz is not a byte"),
            ("\\x+1", "\\x+1 is not a byte"),
        ] {
            let error = Format::parse(format).unwrap_err();
            assert!(error.starts_with(found), "{error}");
        }
    }

    #[test]
    fn json_keeps_bytes_that_are_not_text() {
        let value = to_json(&message());
        assert_eq!(value["key"], "k");
        assert_eq!(value["value"]["base64"], "dv8=");
        assert_eq!(value["headers"][1], json!({"name": "b", "value": null}));
        assert_eq!(value["offset"], 41);
    }
}
