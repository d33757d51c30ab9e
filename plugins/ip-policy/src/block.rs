//! Addresses and CIDR blocks in one form: IPv4 in its IPv6 form (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) is IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// First bits of an IPv4 address in IPv6 form.
const MAPPED_BITS: u8 = 96;
/// The block of all IPv4 addresses in IPv6 form, without its length.
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);

/// Reads an address or CIDR block and writes it as the gateway's sets want it.
///
/// # Errors
/// The text is neither, or has bits set beyond its length: which block is meant is then a guess. The error says so, without the text.
pub fn canonical(text: &str) -> Result<String, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_not_a_block| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_neither| "is neither an address nor a CIDR block".to_owned())?;
    if net.trunc() != net {
        return Err(format!(
            "has bits set beyond /{}: write {} for the block, or the address alone",
            net.prefix_len(),
            net.trunc()
        ));
    }
    let IpAddr::V6(address) = net.addr() else {
        return Ok(net.to_string());
    };
    match (
        address.to_ipv4_mapped(),
        net.prefix_len().checked_sub(MAPPED_BITS),
    ) {
        (Some(v4), Some(length)) => Ok(format!("{v4}/{length}")),
        // a larger block contains all of them and more
        _ if net.contains(&IpAddr::V6(MAPPED)) && net.prefix_len() > 0 => Err(format!(
            "contains all IPv4 addresses in IPv6 form: write {}/0 for those",
            Ipv4Addr::UNSPECIFIED
        )),
        _ => Ok(net.to_string()),
    }
}

/// The address as it is looked up, logged and named.
#[must_use]
pub fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_have_one_form() {
        for (text, wanted) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for (text, wanted) in [
            ("", "is neither"),
            ("localhost", "is neither"),
            ("10.0.0.0/33", "is neither"),
            ("010.0.0.1", "is neither"),
            ("10.0.0.0/8 ", "is neither"),
            ("10.0.0", "is neither"),
            ("fe80::1%eth0", "is neither"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"),
            ("::/64", "0.0.0.0/0"),
        ] {
            let error = canonical(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_ipv4() {
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_eq!(address("2001:db8::1").unwrap().to_string(), "2001:db8::1");
        assert_eq!(address("unknown"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(block) = canonical(&text) {
                prop_assert_eq!(canonical(&block), Ok(block.clone()));
            }
        }

        #[test]
        fn a_block_of_ipv4_is_the_same_in_both_forms(bits: u32, length in 0_u8..=32) {
            let net = ipnet::Ipv4Net::new(bits.into(), length).unwrap().trunc();
            let mapped = format!("{}/{}", net.addr().to_ipv6_mapped(), length + MAPPED_BITS);
            prop_assert_eq!(canonical(&mapped), canonical(&net.to_string()));
        }
    }
}
