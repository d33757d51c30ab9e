//! Allows and denies by the address of the client. Reads in this order: [`config`] -> [`block`], [`settings`] -> here.

pub mod block;
pub mod config;
pub mod settings;
#[cfg(test)]
mod tests;

use edgeward_sdk::{
    Allowed, Authorize, Decision, Denied, Exchange, Interest, Plugin, RequestHead, log_error, log_info,
};

use crate::{
    config::{Address, Effect},
    settings::Settings,
};

/// The plugin.
pub struct IpPolicy(Settings);

impl Plugin for IpPolicy {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let settings = Settings::new(edgeward_sdk::config::parse(config)?)?;
        Ok((Self(settings), Interest::none().authorize()))
    }
}

impl Authorize for IpPolicy {
    fn authorize(&mut self, _request: &RequestHead, exchange: &Exchange) -> Decision {
        let peer = exchange.peer();
        let text = match self.0.address {
            Address::ClientAddress => peer.client_address,
            Address::Peer => peer.address,
        };
        let Some(address) = block::address(&text) else {
            log_error!("refused: the gateway does not know the address: {text:?} is none");
            return self.refused();
        };
        let address = address.to_string();
        let rule = self.0.rules.iter().find(|rule| rule.fits(&address));
        let effect = rule.map_or(self.0.default, |rule| rule.effect);
        let name = rule.map_or("default", |rule| rule.name.as_str());
        match effect {
            Effect::Allow => {
                // an authorizer before this one knows better who is calling
                let principal = exchange.principal().unwrap_or_else(|| format!("ip:{address}"));
                Allowed::new(principal)
                    .fact("address", address)
                    .fact("rule", name)
                    .into()
            }
            Effect::Deny => {
                log_info!("refused: {address}: {name}");
                self.refused()
            }
        }
    }
}

impl IpPolicy {
    fn refused(&self) -> Decision {
        let reason = match self.0.status {
            404 => "not found",
            _ => "not allowed from this address",
        };
        Denied::new(self.0.status, reason).into()
    }
}

edgeward_sdk::export!(IpPolicy: authorize);
