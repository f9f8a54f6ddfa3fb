//! Faults that are wrong on purpose (docs/mutants.md): nothing of this is left in a build without the feature `mutants`.

use std::sync::Arc;

use crate::fault::HostFault;
use crate::ground::Ground;
use crate::registry::Spec;

/// The fault as it was planned, or the one that is wrong.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) fn wrong(_spec: &Spec, _ground: &Arc<Ground>, fault: Box<dyn HostFault>) -> Box<dyn HostFault> {
    fault
}

#[cfg(feature = "mutants")]
pub use with_feature::mutants;
#[cfg(feature = "mutants")]
pub(crate) use with_feature::wrong;

#[cfg(feature = "mutants")]
mod with_feature {
    use async_trait::async_trait;
    use kchaos_core::{Effect, Interval, Proof, mutant};

    use super::{Arc, Ground, HostFault, Spec};
    use crate::error::FaultError;
    use crate::fault::{Injected, Undo};
    use crate::helper::InWords;

    /// What can be wrong of each fault. The first three are looks that are not taken; the others give them something to see.
    const KINDS: &[&str] = &["proof", "mended", "holds", "inert", "unmended", "undo"];

    /// All that can be wrong here.
    pub fn mutants() -> Vec<String> {
        KINDS.iter().flat_map(|kind| crate::ALL.iter().map(move |spec| format!("{kind}:{}", spec.name))).collect()
    }

    /// The fault as it was planned, or the one that is wrong.
    pub(crate) fn wrong(spec: &Spec, ground: &Arc<Ground>, fault: Box<dyn HostFault>) -> Box<dyn HostFault> {
        let is_wrong = KINDS.iter().any(|kind| mutant::is(kind, &spec.name));
        if is_wrong { Box::new(Wrong { name: spec.name, ground: Arc::clone(ground), fault }) } else { fault }
    }

    struct Wrong {
        name: &'static str,
        ground: Arc<Ground>,
        fault: Box<dyn HostFault>,
    }

    impl Wrong {
        fn is(&self, kind: &str) -> bool {
            mutant::is(kind, &self.name)
        }

        fn now(&self) -> Interval {
            Interval::at(self.ground.now())
        }

        fn unseen(&self) -> Proof {
            Proof { proved: true, text: format!("{} was not looked at (a mutant)", self.fault.host()) }
        }
    }

    #[async_trait]
    impl HostFault for Wrong {
        fn host(&self) -> &str {
            self.fault.host()
        }

        /// `undo`: what the host keeps mends nothing either; it is still asked whether it did.
        fn undo(&self) -> Undo {
            let undo = self.fault.undo();
            if self.is("undo") { Undo { mend: ":".to_owned(), ..undo } } else { undo }
        }

        fn holds(&self) -> String {
            if self.is("holds") { ":".to_owned() } else { self.fault.holds() }
        }

        fn in_words(&self) -> Option<InWords> {
            self.fault.in_words()
        }

        /// `inert`: nothing is done, and something is said to have been.
        async fn inject(&self) -> Result<Injected, FaultError> {
            if !self.is("inert") {
                return self.fault.inject().await;
            }
            let effect = Effect { files: vec!["nothing (a mutant)".to_owned()], ..Effect::default() };
            Ok(Injected { when: self.now(), effect })
        }

        async fn settled(&self) -> Result<(), FaultError> {
            if self.is("inert") { Ok(()) } else { self.fault.settled().await }
        }

        async fn proof(&self) -> Result<Proof, FaultError> {
            if self.is("proof") { Ok(self.unseen()) } else { self.fault.proof().await }
        }

        async fn mend(&self) -> Result<Interval, String> {
            if self.is("unmended") || self.is("undo") { Ok(self.now()) } else { self.fault.mend().await }
        }

        async fn mended(&self) -> Proof {
            if self.is("mended") { self.unseen() } else { self.fault.mended().await }
        }
    }
}
