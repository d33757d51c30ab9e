//! Files of users: `name:hash` a line, `#` begins a comment (Apache's `htpasswd`).

/// Largest file in bytes.
pub const FILE_MAX: usize = 1 << 20;

/// The users of a file and their hashes, in order. Lines that are no users are none.
pub fn users(file: &str) -> impl Iterator<Item = (&str, &str)> {
    file.lines().filter_map(|line| {
        let line = line.trim_end();
        if line.starts_with('#') {
            return None;
        }
        let (name, hash) = line.split_once(':')?;
        // Apache reads no further than the next colon
        let hash = hash.split_once(':').map_or(hash, |(hash, _)| hash);
        (!name.is_empty()).then_some((name, hash))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_users() {
        let file = "# staff\nada:$2y$05$x\r\n\n  \nbob:{SHA}x:rest\n:nobody\ncolonless\nada:second";
        let found: Vec<_> = users(file).collect();
        assert_eq!(found, [("ada", "$2y$05$x"), ("bob", "{SHA}x"), ("ada", "second")]);
    }

    proptest! {
        #[test]
        fn any_file_is_read(file in "[a-z:#\\$\\r\\n ]{0,200}") {
            for (name, hash) in users(&file) {
                prop_assert!(!name.is_empty() && !name.contains(':') && !hash.contains(':'));
            }
        }
    }
}
