//! What can be wrong with a keymgr file, in sentences.

/// One fault of a keymgr file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's message says what its fields are"
)]
pub enum KeymgrFault {
    #[error("{word:?} is no keyword; a line begins with hostgroup, usergroup or manage")]
    UnknownKeyword { word: String },
    #[error("there is no \":\" in this line; write {keyword} NAME : MEMBER…")]
    NoColon { keyword: &'static str },
    #[error("a second \":\" in one line; start a line for each rule")]
    SecondColon,
    #[error("{keyword} needs one name before the \":\"")]
    NoName { keyword: &'static str },
    #[error("{keyword} takes one name before the \":\", and {name:?} is a second one")]
    SecondName { keyword: &'static str, name: String },
    #[error("nothing stands {side} the \":\"; name at least one, or remove the line")]
    Nothing { side: &'static str },
    #[error("{name} is defined in line {first_line} already; put all members into one line")]
    DefinedTwice { name: String, first_line: u32 },
    #[error("{name} stands twice on this side of the line; remove one")]
    Twice { name: String },
    #[error(
        "{name} is used here and defined in line {defined_line} only; move the definition above this line"
    )]
    BeforeDefinition { name: String, defined_line: u32 },
    #[error("groups contain each other in a circle: {}; remove one of these members", path.join(" > "))]
    Circle { path: Vec<String> },
    #[error(
        "{name} is a group of the other kind: before the \":\" of manage and in a hostgroup stand hosts, behind it and in a usergroup users"
    )]
    OtherKind { name: String },
    #[error("{name} is written {first} above; write it the same everywhere")]
    TwoSpellings { name: String, first: String },
    #[error(
        "{name} cannot be the name of a pool (1 to 32 of a-z, 0-9, _, - and ., beginning with a letter); put the host into a hostgroup, and name that here"
    )]
    HostNeedsGroup { name: String },
    #[error("{why}")]
    BadName { why: crate::NameError },
}
