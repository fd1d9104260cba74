//! What a registry asks for when it does not know us: challenges, and the address of a token. Pure.

use std::collections::BTreeMap;

/// What a 401 asks for (RFC 9110 §11.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from another service.
    Bearer {
        /// The service's address.
        realm: String,
        /// What to call the registry there.
        service: Option<String>,
        /// What to ask for.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Parses a `WWW-Authenticate` header; the first scheme that we know wins, a token before a password.
    pub fn parse(header: &str) -> Option<Challenge> {
        let mut basic = None;
        let mut rest = header.trim();
        while !rest.is_empty() {
            let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (parameters, after) = parameters(after);
            let get = |name: &str| parameters.get(name).cloned();
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" => {
                    let realm = get("realm")?;
                    return Some(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
                }
                "basic" => basic = Some(Challenge::Basic),
                _ => {}
            }
            rest = after.trim_start();
        }
        basic
    }

    /// Returns the address to ask for a token. The realm may have a query already.
    pub fn token_url(realm: &str, service: Option<&str>, scopes: &[String]) -> String {
        let mut url = realm.to_owned();
        let mut separator = if realm.contains('?') { '&' } else { '?' };
        let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
        for (name, value) in service.map(|service| ("service", service)).into_iter().chain(scopes) {
            url.push(separator);
            url.push_str(name);
            url.push('=');
            url.push_str(&percent_encode(value));
            separator = '&';
        }
        url
    }
}

/// Reads `name=value` and `name="va\"lue"`, with commas between, up to the next scheme; returns what is left.
fn parameters(mut text: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        let name_end =
            text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(text.len());
        let (name, after) = text.split_at(name_end);
        // A word that no `=` follows is the next scheme.
        let Some(after) = after.strip_prefix('=') else { return (found, text) };
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => value.push(other),
                }
            }
            text = &quoted[end..];
        } else {
            let end = after.find([',', ' ']).unwrap_or(after.len());
            value.push_str(&after[..end]);
            text = &after[end..];
        }
        found.insert(name.to_ascii_lowercase(), value);
    }
}

pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'/' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_challenge(header: &str, expected: Option<Challenge>) {
        assert_eq!(Challenge::parse(header), expected, "{header}");
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        check_challenge(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push"),
            ),
        );
        check_challenge(
            r#"bearer realm=http://x/t, service="a \"b\"""#,
            bearer("http://x/t", Some(r#"a "b""#), None),
        );
        check_challenge(r#"Basic realm="r", Bearer realm="t""#, bearer("t", None, None));
        check_challenge(r#"Basic realm="a, b""#, Some(Challenge::Basic));
        check_challenge("Negotiate", None);
        check_challenge("Bearer", None);
        check_challenge("", None);
    }

    #[test]
    fn a_token_is_asked_for_with_everything_escaped() {
        assert_eq!(
            Challenge::token_url("https://a/t", Some("my registry"), &["repository:a/b:pull".to_owned()]),
            "https://a/t?service=my%20registry&scope=repository:a/b:pull"
        );
        let two = ["a&b".to_owned(), "c".to_owned()];
        assert_eq!(
            Challenge::token_url("https://a/t?x=1", None, &two),
            "https://a/t?x=1&scope=a%26b&scope=c"
        );
    }
}
