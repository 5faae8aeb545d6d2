//! SipHash-2-4 (Aumasson and Bernstein, 2012): a short MAC for cookies and keyed places in tables.
//!
//! Its output is what RFC 9018 puts into server cookies, so it must never be exchanged for a faster cousin.

/// A secret of 128 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SipKey {
    k0: u64,
    k1: u64,
}

impl std::fmt::Debug for SipKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SipKey(…)")
    }
}

impl SipKey {
    pub(crate) fn new(octets: [u8; 16]) -> Self {
        let [k0, k1] = octets.as_chunks::<8>().0 else { return Self { k0: 0, k1: 0 } };
        Self { k0: u64::from_le_bytes(*k0), k1: u64::from_le_bytes(*k1) }
    }

    /// The hash of `octets`, as a number whose little-endian octets are the published output.
    #[inline]
    pub(crate) fn hash(self, octets: &[u8]) -> u64 {
        let mut v = [
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ];
        let (words, rest) = octets.as_chunks::<8>();
        for word in words {
            absorb(&mut v, u64::from_le_bytes(*word));
        }
        // The last word: what is left over, and the length in its highest octet.
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        absorb(&mut v, u64::from_le_bytes(last) | (octets.len() as u64) << 56);
        v[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

#[inline]
fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_paper() {
        // Key 00 01 … 0f, message 00 01 … of each length (the reference implementation's table).
        let key = SipKey::new(std::array::from_fn(|i| i as u8));
        let message: Vec<u8> = (0..15).collect();
        let check = |len: usize, expect: [u8; 8]| {
            let message: Vec<u8> = message.iter().copied().take(len).collect();
            assert_eq!(key.hash(&message).to_le_bytes(), expect, "{len}");
        };
        check(0, [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72]);
        check(1, [0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74]);
        check(8, [0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93]);
        check(15, [0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1]);
    }
}
