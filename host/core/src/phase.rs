//! Every point of an exchange at which a plugin can be called.

use std::fmt;

use serde::Serialize;

macro_rules! phases {
    ($($variant:ident $name:literal $bit:literal $doc:literal;)*) => {
        /// A point of an exchange at which plugins are called.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Phase {
            $(#[doc = $doc] $variant,)*
        }

        impl Phase {
            /// Every phase, in the order in which they come in an exchange.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name, as in `interest` and in logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn bit(self) -> u16 {
                match self { $(Self::$variant => 1 << $bit,)* }
            }
        }
    };
}

phases! {
    Inspect "inspect" 0 "A WAF looks at the request.";
    Authorize "authorize" 1 "An authorizer decides who calls and whether it may.";
    RequestHead "request-head" 2 "A transformer sees the request head.";
    RequestBody "request-body" 3 "A transformer sees the request body.";
    ResponseHead "response-head" 4 "A transformer sees the response head.";
    ResponseBody "response-body" 5 "A transformer sees the response body.";
    GatewayError "gateway-error" 6 "A transformer sees an error response of the gateway.";
    Observe "observe" 7 "An observer sees the finished exchange.";
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases(u16);

impl Phases {
    /// The same set with one more.
    #[must_use]
    pub const fn with(self, phase: Phase) -> Self {
        Self(self.0 | phase.bit())
    }

    /// True if the phase is in the set.
    #[must_use]
    pub const fn has(self, phase: Phase) -> bool {
        self.0 & phase.bit() != 0
    }

    /// True if a phase that comes later in an exchange is in the set.
    #[must_use]
    pub const fn has_after(self, phase: Phase) -> bool {
        self.0 & !(phase.bit() | (phase.bit() - 1)) != 0
    }

    /// The phases of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if no phase is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The phases of the set, in the order of an exchange.
    pub fn iter(self) -> impl Iterator<Item = Phase> {
        Phase::ALL.iter().copied().filter(move |phase| self.has(*phase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_phase_is_known() {
        let phases = Phases::default().with(Phase::Inspect).with(Phase::ResponseHead);
        assert!(phases.has_after(Phase::Inspect) && phases.has_after(Phase::RequestBody));
        assert!(!phases.has_after(Phase::ResponseHead) && !phases.has_after(Phase::Observe));
    }
}
