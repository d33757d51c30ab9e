//! Whether a name and a password belong together. A name that nobody has takes as long as one that somebody has.

use edgeward_sdk::ContextValue;

use crate::{
    credentials::{self, Missing},
    hash::Hash,
    htpasswd,
    settings::{Known, Settings, Source},
};

/// What the logic needs from outside. Error texts name what was asked for; they go to the log, never to a caller.
pub trait Outside {
    /// A granted secret.
    ///
    /// # Errors
    /// It is not granted or has no value.
    fn secret(&self, name: &str) -> Result<Vec<u8>, String>;
    /// HMAC with SHA-256.
    fn hmac_sha256(&self, key: &[u8], message: &[u8]) -> Vec<u8>;
    /// Compares in time that depends on the lengths only.
    fn same(&self, one: &[u8], other: &[u8]) -> bool;
}

/// A user whose password is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Name.
    pub name: String,
    /// Facts for later plugins.
    pub facts: Vec<(String, ContextValue)>,
}

/// Why a caller is refused. Texts are for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are no credentials.
    Absent,
    /// The credentials cannot be read.
    Malformed(String),
    /// Name and password do not belong together.
    Wrong(String),
    /// Hashes cannot be had.
    Unavailable(String),
}

/// A place where a hash is.
enum Place<'a> {
    Here(&'a Hash),
    Secret(&'a str),
    Line { name: &'a str, hash: &'a str },
}

impl Place<'_> {
    /// Bytes that nobody outside knows.
    fn unknown_outside(&self, outside: &impl Outside) -> Vec<u8> {
        match *self {
            Self::Here(hash) => hash.output().to_vec(),
            // a secret that is missing makes only itself useless
            Self::Secret(name) => outside.secret(name).unwrap_or_default(),
            Self::Line { hash, .. } => hash.as_bytes().to_vec(),
        }
    }

    fn hash(&self, settings: &Settings, outside: &impl Outside) -> Result<Hash, String> {
        match *self {
            Self::Here(hash) => Ok(hash.clone()),
            Self::Secret(name) => {
                let text = text(name, outside)?;
                Hash::parse(text.trim_end(), &settings.cost)
                    .map_err(|error| format!("secret {name:?}: {error}"))
            }
            Self::Line { name, hash } => {
                Hash::parse(hash, &settings.cost).map_err(|error| format!("htpasswd, user {name:?}: {error}"))
            }
        }
    }
}

/// Checks the `Authorization` fields of a request.
///
/// # Errors
/// The caller is not let in.
pub fn check(settings: &Settings, lines: &[Vec<u8>], outside: &impl Outside) -> Result<Accepted, Refusal> {
    let given = credentials::read(lines).map_err(|missing| match missing {
        Missing::Absent => Refusal::Absent,
        Missing::Malformed(detail) => Refusal::Malformed(detail),
    })?;
    let file = match &settings.htpasswd {
        Some(name) => text(name, outside).map_err(Refusal::Unavailable)?,
        None => String::new(),
    };
    let known = settings.users.get(&given.name);
    let mut places = Vec::new();
    for known in settings.users.values() {
        match &known.source {
            Source::Here(hash) => places.push(Place::Here(hash)),
            Source::Secret(name) => places.push(Place::Secret(name)),
            Source::File => {}
        }
    }
    let mut in_file = None;
    for (name, hash) in htpasswd::users(&file) {
        if name == given.name && in_file.is_none() {
            in_file = Some(Place::Line { name, hash });
        }
        places.push(Place::Line { name, hash });
    }
    let own = match known.map(|known| &known.source) {
        Some(Source::Here(hash)) => Some(Place::Here(hash)),
        Some(Source::Secret(name)) => Some(Place::Secret(name)),
        Some(Source::File) | None => in_file,
    };
    let stranger = own.is_none();
    let place = own.or_else(|| stand_in(&given.name, places, outside));
    let Some(place) = place else {
        return Err(Refusal::Wrong("there are no users".into()));
    };
    let hash = place.hash(settings, outside).map_err(Refusal::Unavailable)?;
    let holds = hash
        .is_of(&given.password, |one, other| outside.same(one, other))
        .map_err(Refusal::Unavailable)?;
    // computed for strangers, too, and worth nothing then: it is somebody else's password
    let holds = std::hint::black_box(holds);
    if stranger {
        return Err(Refusal::Wrong("there is no such user".into()));
    }
    if !holds {
        return Err(Refusal::Wrong(format!(
            "user {:?}: the password is wrong",
            given.name
        )));
    }
    Ok(Accepted {
        name: given.name,
        facts: known.map(|Known { facts, .. }| facts.clone()).unwrap_or_default(),
    })
}

/// The hash that a password is held against when nobody has the name: always the same for a name, so that it behaves as a user would, and of a kind
/// that only those can foretell who know the hashes.
fn stand_in<'a>(name: &str, places: Vec<Place<'a>>, outside: &impl Outside) -> Option<Place<'a>> {
    let key = places.first()?.unknown_outside(outside);
    let digest = outside.hmac_sha256(&key, name.as_bytes());
    let number = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let count = u64::try_from(places.len()).unwrap_or(u64::MAX);
    let index = usize::try_from(number % count).unwrap_or(0);
    places.into_iter().nth(index)
}

fn text(name: &str, outside: &impl Outside) -> Result<String, String> {
    let bytes = outside.secret(name)?;
    if bytes.len() > htpasswd::FILE_MAX {
        return Err(format!(
            "secret {name:?}: {} bytes exceed {}",
            bytes.len(),
            htpasswd::FILE_MAX
        ));
    }
    String::from_utf8(bytes).map_err(|error| format!("secret {name:?}: {}", error.utf8_error()))
}
