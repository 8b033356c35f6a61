//! Strings and bytes in commands and state records: a length in four bytes, then the content.

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("entries are smaller"));
    out.put_slice(bytes);
}

pub(super) fn put_str(out: &mut BytesMut, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_option(out: &mut BytesMut, text: Option<&str>) {
    out.put_u8(u8::from(text.is_some()));
    if let Some(text) = text {
        put_str(out, text);
    }
}

pub(super) fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32(u32::try_from(len).expect("entries are smaller"));
}

pub(super) fn get_bytes(bytes: &mut &[u8]) -> Option<Bytes> {
    let len = bytes.try_get_u32().ok()? as usize;
    let (content, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(Bytes::copy_from_slice(content))
}

pub(super) fn get_str(bytes: &mut &[u8]) -> Option<String> {
    let len = bytes.try_get_u32().ok()? as usize;
    let (content, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    String::from_utf8(content.to_vec()).ok()
}

pub(super) fn get_option(bytes: &mut &[u8]) -> Option<Option<String>> {
    match bytes.try_get_u8().ok()? {
        0 => Some(None),
        1 => get_str(bytes).map(Some),
        _ => None,
    }
}

/// A moment, or none.
pub(super) fn put_time(out: &mut BytesMut, at_ms: Option<i64>) {
    out.put_u8(u8::from(at_ms.is_some()));
    out.put_i64(at_ms.unwrap_or(0));
}

pub(super) fn get_time(bytes: &mut &[u8]) -> Option<Option<i64>> {
    let is_there = bytes.try_get_u8().ok()?;
    let at_ms = bytes.try_get_i64().ok()?;
    match is_there {
        0 if at_ms == 0 => Some(None),
        1 => Some(Some(at_ms)),
        _ => None,
    }
}

/// A count of things that take at least `each` bytes.
pub(super) fn get_len(bytes: &mut &[u8], each: usize) -> Option<usize> {
    let len = bytes.try_get_u32().ok()? as usize;
    (len <= bytes.len() / each).then_some(len)
}
