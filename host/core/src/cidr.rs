//! Blocks of addresses as people write them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// First bits of an IPv4 address in its IPv6 form (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A CIDR block, or an address as a block of its own; none where the text is neither. A block of IPv4 addresses in their IPv6 form is a block of
/// IPv4 addresses, as addresses are compared in that form (`IpAddr::to_canonical`). Larger blocks of IPv6 contain no IPv4 address.
#[must_use]
pub fn block(text: &str) -> Option<IpNet> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_not_a_block| text.parse::<IpAddr>().map(IpNet::from))
        .ok()?;
    let mapped = |net: &IpNet| -> Option<(Ipv4Addr, u8)> {
        let IpAddr::V6(address) = net.addr() else {
            return None;
        };
        Some((
            address.to_ipv4_mapped()?,
            net.prefix_len().checked_sub(MAPPED_BITS)?,
        ))
    };
    Some(match mapped(&net) {
        Some((address, length)) => Ipv4Net::new(address, length).ok()?.into(),
        None => net,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_ipv4_addresses_are_the_same_in_both_forms() {
        for (text, wanted) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/104", "10.1.2.3/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::ffff:0.0.0.0/95"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(
                block(text).map(|net| net.to_string()).as_deref(),
                Some(wanted),
                "{text}"
            );
        }
        for wrong in ["", "10.0.0", "10.0.0.0/33", "::/129", "*", "example.com"] {
            assert_eq!(block(wrong), None, "{wrong}");
        }
    }
}
