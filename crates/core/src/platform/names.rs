//! Names that Windows changes or refuses. On other systems they are ordinary names; `model` decides where to refuse
//! them.

/// Devices, in every folder and with every ending.
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Why this system cannot keep a file or folder under exactly this name; `None` if it can.
pub(crate) fn refused_name(name: &str) -> Option<&'static str> {
    if cfg!(windows) { refused_by_windows(name) } else { None }
}

/// Why Windows cannot keep a file or folder under exactly this name; `None` if it can.
pub(super) fn refused_by_windows(name: &str) -> Option<&'static str> {
    if is_device(name) {
        return Some("it is the name of a Windows device");
    }
    // After a colon comes the name of a second stream of data, which no listing of the folder shows.
    if name.contains(['<', '>', ':', '"', '|', '?', '*', '/', '\\']) || name.chars().any(char::is_control) {
        return Some("it has a character that Windows does not allow in names");
    }
    // Windows drops them, so two names would be one.
    if name.ends_with(['.', ' ']) {
        return Some("it ends with a dot or a space, which Windows drops");
    }
    None
}

fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or(name).trim_end();
    DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_would_change_are_refused() {
        for name in [
            "NUL",
            "con.txt",
            "aux .json",
            "com1.tar.gz",
            "x:stream",
            "x::$DATA",
            "a\\b",
            "a/b",
            "x.",
            "x ",
            "..",
            ".",
            "a*",
            "a?b",
            "a|b",
            "<a>",
            "a\"b",
            "a\u{1}b",
        ] {
            assert!(refused_by_windows(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn ordinary_names_are_not() {
        for name in ["config.json", "nullable.json", "com10", "console", ".gitattributes", "a b", "a..b", "é", "[0]{1}"]
        {
            assert_eq!(refused_by_windows(name), None, "{name:?}");
        }
    }
}
