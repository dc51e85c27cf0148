//! Points of the curve P-256.

use ring::{agreement, rand::SystemRandom};

/// Whether bytes are an uncompressed point of the curve: 65 bytes, which are a public key.
pub(super) fn is_p256(bytes: &[u8]) -> bool {
    // Agreeing on a secret is the only operation of ring that tells a bad point from a bad signature.
    let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, bytes);
    agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new())
        .and_then(|own| agreement::agree_ephemeral(own, &peer, |_| ()))
        .is_ok()
}
