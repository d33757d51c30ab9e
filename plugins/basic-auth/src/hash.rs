//! Hashes of passwords: argon2id as a PHC string, and bcrypt. Cheaper and older forms are refused by name.

use argon2::{Algorithm, Argon2, Params, Version, password_hash::phc::PasswordHash};
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::NO_PAD},
};

use crate::config::Cost;

/// Longest text of a hash in bytes.
const TEXT_MAX: usize = 512;
/// Bytes of a password that bcrypt looks at.
const BCRYPT_PASSWORD_MAX: usize = 72;
/// Shortest output of argon2id that is taken, in bytes.
const OUTPUT_MIN: usize = 16;
/// The alphabet of bcrypt. Some writers leave bits in the last character that mean nothing.
const BCRYPT: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, LENIENT);
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);

/// A hash of a password. Has no `Debug`: it is worth guessing at.
#[derive(Clone)]
pub struct Hash(Kind);

#[derive(Clone)]
enum Kind {
    Argon2id {
        params: Params,
        salt: Vec<u8>,
        output: Vec<u8>,
    },
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        output: [u8; 23],
    },
}

impl Hash {
    /// Reads a hash and holds its cost against the limits.
    ///
    /// # Errors
    /// The form is not taken, or the hash is too dear. The text has nothing of the hash in it but its form and cost.
    pub fn parse(text: &str, limits: &Cost) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("a hash of {} bytes exceeds {TEXT_MAX}", text.len()));
        }
        match text.split('$').nth(1) {
            Some("argon2id") if text.starts_with('$') => argon2id(text, limits),
            Some("2a" | "2b" | "2y") if text.starts_with('$') => bcrypt_of(text, limits),
            _ => Err(not_taken(text)),
        }
        .map(Self)
    }

    /// True when this is the hash of the password. Takes its time whatever the outcome. `same` compares in constant time.
    ///
    /// # Errors
    /// The hash cannot be computed.
    pub fn is_of(&self, password: &str, same: impl Fn(&[u8], &[u8]) -> bool) -> Result<bool, String> {
        let password = password.as_bytes();
        match &self.0 {
            Kind::Argon2id { params, salt, output } => {
                let mut found = vec![0; output.len()];
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
                    .hash_password_into(password, salt, &mut found)
                    .map_err(|error| format!("argon2id: {error}"))?;
                Ok(same(&found, output))
            }
            Kind::Bcrypt { cost, salt, output } => {
                // ends with a zero byte, unless that does not fit
                let mut padded = [0; BCRYPT_PASSWORD_MAX];
                let length = password.len().min(BCRYPT_PASSWORD_MAX);
                for (to, from) in padded.iter_mut().zip(password) {
                    *to = *from;
                }
                let used = padded.get(..=length).unwrap_or(&padded);
                let found = bcrypt::bcrypt(*cost, *salt, used);
                let equal = same(found.get(..output.len()).unwrap_or_default(), output);
                // what bcrypt does not look at would be no part of the password
                Ok(equal && password.len() <= BCRYPT_PASSWORD_MAX)
            }
        }
    }

    /// Bytes that nobody outside knows.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        match &self.0 {
            Kind::Argon2id { output, .. } => output,
            Kind::Bcrypt { output, .. } => output,
        }
    }
}

fn argon2id(text: &str, limits: &Cost) -> Result<Kind, String> {
    let hash = PasswordHash::new(text).map_err(|error| format!("argon2id: {error}"))?;
    if hash.version != Some(19) {
        return Err("argon2id: only version 19 (`v=19`) is taken".into());
    }
    let params = Params::try_from(&hash).map_err(|error| format!("argon2id: {error}"))?;
    if !params.keyid().is_empty() || !params.data().is_empty() {
        return Err("argon2id: `keyid` and `data` are not taken".into());
    }
    for (name, value, limit, key) in [
        (
            "m",
            params.m_cost(),
            limits.argon2_memory_kib,
            "argon2-memory-kib",
        ),
        ("t", params.t_cost(), limits.argon2_passes, "argon2-passes"),
    ] {
        if value > limit {
            return Err(format!(
                "argon2id: {name}={value} exceeds cost.{key}: {limit}; a hash that costs more needs larger limits, of the binding too"
            ));
        }
    }
    let (Some(salt), Some(output)) = (&hash.salt, &hash.hash) else {
        return Err("argon2id: salt or output is missing".into());
    };
    if output.len() < OUTPUT_MIN {
        return Err(format!(
            "argon2id: an output of {} bytes is shorter than {OUTPUT_MIN}",
            output.len()
        ));
    }
    Ok(Kind::Argon2id {
        params,
        salt: salt.to_vec(),
        output: output.as_bytes().to_vec(),
    })
}

fn bcrypt_of(text: &str, limits: &Cost) -> Result<Kind, String> {
    let wrong = || "bcrypt: is not `$2y$`, two digits, `$` and 53 characters".to_owned();
    let mut parts = text.splitn(4, '$').skip(2);
    let (cost, rest) = parts.next().zip(parts.next()).ok_or_else(wrong)?;
    if cost.len() != 2 || !cost.bytes().all(|byte| byte.is_ascii_digit()) || rest.len() != 53 {
        return Err(wrong());
    }
    let cost: u32 = cost.parse().map_err(|_not_a_number| wrong())?;
    let (salt, output) = rest.split_at_checked(22).ok_or_else(wrong)?;
    let salt = BCRYPT.decode(salt).map_err(|_not_base64| wrong())?;
    let output = BCRYPT.decode(output).map_err(|_not_base64| wrong())?;
    if cost > limits.bcrypt_cost {
        return Err(format!(
            "bcrypt: cost {cost} exceeds cost.bcrypt-cost: {}; a hash that costs more needs larger limits, of the binding too",
            limits.bcrypt_cost
        ));
    }
    if cost < 4 {
        return Err(format!("bcrypt: cost {cost} is below 4"));
    }
    Ok(Kind::Bcrypt {
        cost,
        salt: salt.try_into().map_err(|_length| wrong())?,
        output: output.try_into().map_err(|_length| wrong())?,
    })
}

/// What a form is called, and what to do about it.
fn not_taken(text: &str) -> String {
    let form = [
        ("{SHA}", "{SHA}, SHA-1 without salt"),
        ("{SSHA}", "{SSHA}, SHA-1"),
        ("$apr1$", "$apr1$, MD5 of Apache"),
        ("$1$", "$1$, MD5-crypt"),
        ("$5$", "$5$, SHA-256-crypt"),
        ("$6$", "$6$, SHA-512-crypt"),
        ("$7$", "$7$, scrypt"),
        ("$scrypt$", "$scrypt$"),
        ("$y$", "$y$, yescrypt"),
        ("$2x$", "$2x$, bcrypt with a known fault"),
        ("$argon2i$", "$argon2i$"),
        ("$argon2d$", "$argon2d$"),
        ("$pbkdf2", "$pbkdf2...$"),
    ];
    let found = form.iter().find(|(prefix, _)| text.starts_with(prefix));
    let name = found.map_or(
        "this, perhaps crypt(3) or a password in the clear,",
        |(_, name)| *name,
    );
    format!(
        "{name} is not taken: only argon2id and bcrypt ($2a$, $2b$, $2y$) are; `htpasswd -B` writes bcrypt"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const DEAR: Cost = Cost {
        argon2_memory_kib: 131_072,
        argon2_passes: 16,
        bcrypt_cost: 15,
    };

    fn error(text: &str, cost: &Cost) -> String {
        Hash::parse(text, cost).err().unwrap()
    }

    fn is_of(text: &str, password: &str) -> bool {
        let hash = Hash::parse(text, &DEAR).unwrap();
        hash.is_of(password, |one, other| one == other).unwrap()
    }

    /// Hashes that argon2-cffi and PyCA's bcrypt wrote.
    #[test]
    fn hashes_of_other_programs_are_verified() {
        let vectors: Vec<Value> = serde_json::from_str(include_str!("../tests/vectors/hashes.json")).unwrap();
        assert!(vectors.len() >= 20);
        for vector in vectors {
            let (hash, password) = (
                vector["hash"].as_str().unwrap(),
                vector["password"].as_str().unwrap(),
            );
            assert!(is_of(hash, password), "{hash}");
            assert!(!is_of(hash, &format!("{password}x")), "{hash}");
            if !password.is_empty() {
                assert!(!is_of(hash, ""), "{hash}");
            }
        }
    }

    #[test]
    fn bcrypt_takes_no_password_that_it_does_not_look_at() {
        // made of 72 times `a`
        let hash = "$2b$04$abcdefghijklmnopqrstuu";
        let long = "a".repeat(72);
        let output = bcrypt::bcrypt(4, salt_of(hash), long.as_bytes());
        let text = format!("{hash}{}", BCRYPT.encode(&output[..23]));
        assert!(is_of(&text, &long));
        assert!(!is_of(&text, &format!("{long}b")));
        assert!(!is_of(&text, &long[1..]));
    }

    fn salt_of(text: &str) -> [u8; 16] {
        BCRYPT.decode(&text[7..29]).unwrap().try_into().unwrap()
    }

    #[test]
    fn hashes_that_cost_too_much_are_refused_with_the_limit() {
        let cost = Cost::default();
        let tail = "$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(Hash::parse(&format!("$argon2id$v=19$m=19456,t=2,p=1{tail}"), &cost).is_ok());
        let memory = error(&format!("$argon2id$v=19$m=65536,t=2,p=4{tail}"), &cost);
        assert!(
            memory.starts_with("argon2id: m=65536 exceeds cost.argon2-memory-kib: 19456"),
            "{memory}"
        );
        let passes = error(&format!("$argon2id$v=19$m=8192,t=3,p=1{tail}"), &cost);
        assert!(
            passes.starts_with("argon2id: t=3 exceeds cost.argon2-passes: 2"),
            "{passes}"
        );
        let bcrypt = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        assert!(Hash::parse(&format!("$2a$10${bcrypt}"), &cost).is_ok());
        let dear = error(&format!("$2a$12${bcrypt}"), &cost);
        assert!(
            dear.starts_with("bcrypt: cost 12 exceeds cost.bcrypt-cost: 10"),
            "{dear}"
        );
        assert_eq!(
            error(&format!("$2a$03${bcrypt}"), &cost),
            "bcrypt: cost 3 is below 4"
        );
    }

    #[test]
    fn other_forms_are_refused_by_name() {
        for (text, wanted) in [
            (
                "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=",
                "{SHA}, SHA-1 without salt is not taken",
            ),
            ("$apr1$salt$hash", "$apr1$, MD5 of Apache"),
            ("$1$salt$hash", "$1$"),
            ("$5$salt$hash", "$5$, SHA-256-crypt"),
            ("$6$salt$hash", "$6$, SHA-512-crypt"),
            ("$2x$10$x", "$2x$"),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$x", "$argon2i$"),
            ("$argon2d$v=19$m=8,t=1,p=1$c29tZXNhbHQ$x", "$argon2d$"),
            ("rqXexS6ZhobKA", "perhaps crypt(3)"),
            ("x$2y$10$a", "perhaps crypt(3)"),
            ("", "perhaps crypt(3)"),
            ("$2y$10$short", "53 characters"),
            (
                "$2y$1$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
                "two digits",
            ),
            (
                "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhW!",
                "53 characters",
            ),
            (
                "$argon2id$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5Q",
                "only version 19",
            ),
            (
                "$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5Q",
                "only version 19",
            ),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", "output is missing"),
            (
                "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaM",
                "shorter than 16",
            ),
            (
                "$argon2id$v=19$m=7,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5Q",
                "argon2id: ",
            ),
            (
                "$argon2id$v=19$m=8,t=1,p=1,data=AAAA$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5Q",
                "`data` are not taken",
            ),
        ] {
            let found = error(text, &DEAR);
            assert!(found.contains(wanted), "{text}: {found}");
        }
        assert!(error(&"x".repeat(513), &DEAR).contains("exceeds 512"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\$(argon2id|2b)\\$)?[a-zA-Z0-9$=,./]{0,90}", other in "\\PC{0,80}") {
            let _any = Hash::parse(&text, &DEAR);
            let _any = Hash::parse(&other, &DEAR);
            let _any = Hash::parse(&format!("$2b$05${other}"), &DEAR);
            let _any = Hash::parse(&format!("$argon2id$v=19${other}"), &DEAR);
        }
    }
}
