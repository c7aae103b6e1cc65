//! Which of the objects in a token is the key that is meant.

use cryptoki::{
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData};

use super::{
    super::{super::wire::Refusal, NO_KEY, Open},
    failed, say,
};

/// `prime256v1`, DER of its object identifier.
pub(super) const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// `edwards25519` as PKCS#11 3.0 names it (a printable string); older modules know only this form.
pub(super) const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// `id-Ed25519`, DER of its object identifier (RFC 8410).
pub(super) const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// A key as a token lists it.
pub(super) struct Found {
    handle: ObjectHandle,
    label: String,
    public: Option<KeyData>,
}

/// Every private key that fits the label and ID of the specification.
pub(super) fn find(session: &Session, open: &Open) -> Result<Vec<Found>, Refusal> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    if let Some(label) = &open.object {
        template.push(Attribute::Label(label.clone().into_bytes()));
    }
    if let Some(id) = &open.id {
        template.push(Attribute::Id(id.clone()));
    }
    let handles = session
        .find_objects(&template)
        .map_err(failed("list its keys"))?;
    Ok(handles
        .into_iter()
        .map(|handle| {
            let names = names(session, handle);
            Found {
                handle,
                label: String::from_utf8_lossy(&names.label).into_owned(),
                public: public_of(session, handle, &names),
            }
        })
        .collect())
}

struct Names {
    label: Vec<u8>,
    id: Vec<u8>,
}

fn names(session: &Session, handle: ObjectHandle) -> Names {
    let mut names = Names {
        label: Vec::new(),
        id: Vec::new(),
    };
    let wanted = [AttributeType::Label, AttributeType::Id];
    for attribute in session.get_attributes(handle, &wanted).unwrap_or_default() {
        match attribute {
            Attribute::Label(label) => names.label = label,
            Attribute::Id(id) => names.id = id,
            _ => {}
        }
    }
    names
}

/// The public half: from the public key object with the same ID (or label), or from the private one where a token has it there.
fn public_of(session: &Session, private: ObjectHandle, names: &Names) -> Option<KeyData> {
    let twin = if names.id.is_empty() {
        Attribute::Label(names.label.clone())
    } else {
        Attribute::Id(names.id.clone())
    };
    let mut template = vec![Attribute::Class(ObjectClass::PUBLIC_KEY), twin];
    // A label alone may be shared by key pairs of other kinds.
    if !names.id.is_empty() && !names.label.is_empty() {
        template.push(Attribute::Label(names.label.clone()));
    }
    let twins = session.find_objects(&template).unwrap_or_default();
    let mut known = twins
        .into_iter()
        .chain([private])
        .filter_map(|handle| public_at(session, handle));
    known.next()
}

pub(super) fn public_at(session: &Session, handle: ObjectHandle) -> Option<KeyData> {
    let (mut kind, mut params, mut point) = (None, Vec::new(), Vec::new());
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
    ];
    for attribute in session.get_attributes(handle, &wanted).ok()? {
        match attribute {
            Attribute::KeyType(found) => kind = Some(found),
            Attribute::EcParams(found) => params = found,
            Attribute::EcPoint(found) => point = found,
            _ => {}
        }
    }
    if kind == Some(KeyType::EC) && params == P256 {
        // An OCTET STRING around the point, as the standard says, or the point alone, as some tokens do.
        let point = match point.as_slice() {
            [0x04, 65, rest @ ..] if rest.len() == 65 => rest,
            bare => bare,
        };
        return EcdsaPublicKey::from_sec1_bytes(point)
            .ok()
            .map(KeyData::Ecdsa);
    }
    if kind == Some(KeyType::EC_EDWARDS) && (params == ED25519_NAME || params == ED25519_OID) {
        let point = match point.as_slice() {
            [0x04, 32, rest @ ..] | [0x03, 33, 0, rest @ ..] if rest.len() == 32 => rest,
            bare => bare,
        };
        return Some(KeyData::Ed25519(Ed25519PublicKey(point.try_into().ok()?)));
    }
    None
}

/// The one that is meant, if it is there.
pub(super) fn choose(
    found: &[Found],
    wanted: Option<&KeyData>,
) -> Result<Option<(ObjectHandle, KeyData)>, Refusal> {
    let usable: Vec<(ObjectHandle, KeyData)> = found
        .iter()
        .filter_map(|found| Some((found.handle, found.public.clone()?)))
        .filter(|(_, public)| wanted.is_none_or(|wanted| wanted == public))
        .collect();
    match &usable[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        // The same key twice signs alike.
        [one, ..] if wanted.is_some() => Ok(Some(one.clone())),
        [..] => Err(say(
            NO_KEY,
            "the token has several keys that could be meant; say which with object= or id=",
        )),
    }
}

pub(super) fn missing(open: &Open, found: &[Found]) -> Refusal {
    let name = open
        .object
        .as_ref()
        .map_or_else(String::new, |label| format!(" {label:?}"));
    let others: Vec<&str> = found.iter().map(|found| found.label.as_str()).collect();
    say(
        NO_KEY,
        if others.is_empty() {
            format!("the token has no private key{name}; correct object= or id=")
        } else {
            format!(
                "the token's key{name} is another one than the CA's, or its public half is not in the token ({})",
                others.join(", ")
            )
        },
    )
}
