//! What has one bit flipped, and a sum that says what it was, is found by turning bits back: the last resort, where there
//! is no copy. Whoever asks checks a SHA-256 of what comes out.

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Longer things are not looked at: every bit takes a step per byte.
const SUMMED_BYTES_MAX: usize = 16 << 20;
/// The same where every bit takes a SHA-256 of the rest.
const SEALED_BYTES_MAX: usize = 8 << 10;
/// Bytes of the second line of a sealed object, with the line feed before it: `{"sha256":"..."}`.
const SEAL_BYTES: usize = 11 + 64 + 3 + 1;

/// Turns back the bit of these bytes that makes their CRC-32 (as in gzip) this one. None unless there is exactly such a
/// one.
pub(super) fn of_crc(bytes: &mut [u8], wanted: u32) -> Option<()> {
    let wrong = crc32fast::hash(bytes) ^ wanted;
    if wrong == 0 || bytes.len() > SUMMED_BYTES_MAX {
        return None;
    }
    // What a flipped bit of the last byte does to the sum; then of the one before it, and so on.
    let mut effects: [u32; 8] = std::array::from_fn(|bit| shifted(1 << bit));
    for byte in bytes.iter_mut().rev() {
        if let Some(bit) = effects.iter().position(|effect| *effect == wrong) {
            *byte ^= 1 << bit;
            return Some(());
        }
        effects = effects.map(|effect| shifted(effect & 0xff) ^ (effect >> 8));
    }
    None
}

/// The sum's register after these 8 bits.
fn shifted(mut register: u32) -> u32 {
    for _ in 0..8 {
        let is_odd = register & 1 == 1;
        register = (register >> 1) ^ if is_odd { 0xedb8_8320 } else { 0 };
    }
    register
}

/// The same of a sealed JSON object.
pub(super) fn of_sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.len().checked_sub(SEAL_BYTES)?;
    if bytes.len() > SEALED_BYTES_MAX {
        return None;
    }
    let (line, seal) = bytes.split_at(end);
    let seal_of = |digest: Digest| format!("\n{{\"sha256\":\"{digest}\"}}\n").into_bytes();
    let right = seal_of(Digest::of(line));
    let flipped = right.iter().zip(seal).map(|(a, b)| (a ^ b).count_ones());
    if flipped.sum::<u32>() == 1 {
        return Some([line, &right].concat());
    }
    let wanted: Digest = std::str::from_utf8(seal.get(12..76)?).ok()?.parse().ok()?;
    if seal_of(wanted) != seal {
        return None;
    }
    let mut before = Sha256::new();
    for (at, byte) in line.iter().enumerate() {
        for bit in 0..8 {
            let turned = byte ^ (1 << bit);
            let mut hash = before.clone();
            hash.update([turned]);
            hash.update(&line[at + 1..]);
            if Digest(hash.finalize().into()) == wanted {
                let mut mended = bytes.to_vec();
                mended[at] = turned;
                return Some(mended);
            }
        }
        before.update([*byte]);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed;

    #[test]
    fn any_bit_is_turned_back_and_two_are_not() {
        let sound: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(37)).collect();
        let crc = crc32fast::hash(&sound);
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            of_crc(&mut bytes, crc).expect("one bit");
            assert_eq!(bytes, sound);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes[(bit / 8 + 9) % 200] ^= 4;
            assert_eq!(of_crc(&mut bytes, crc), None);
        }
        assert_eq!(of_crc(&mut sound.clone(), crc), None, "nothing is wrong");

        let sound = sealed::encode(&serde_json::json!({"format": 1, "some": "thing"}));
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(of_sealed(&bytes).as_deref(), Some(&sound[..]), "bit {bit}");
            bytes[(bit / 8 + 3) % sound.len()] ^= 4;
            assert_eq!(of_sealed(&bytes), None, "bit {bit}");
        }
    }
}
