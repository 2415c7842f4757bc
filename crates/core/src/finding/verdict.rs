//! The only place that says "verified": a pure function of each file's expectation, its evidence, and the
//! findings. The caller shows the verdict and maps it to an exit code.

use super::{Code, Evidence, Finding, Origin, Proof, Severity};
use crate::model::Partition;

/// The result of a run, for one repo or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Every selected file has the expected digest, and nothing is wrong.
    Verified {
        /// Who stated the digests; the weakest, if there are several.
        against: Origin,
    },
    /// Every file of one worker's part has the expected digest, and nothing is known to be wrong. It says nothing about the
    /// other parts, so it is never [`Verdict::Verified`].
    #[doc(hidden)] // only in the command's jobs
    Part {
        /// The part.
        partition: Partition,
        /// Who stated the digests; the weakest, if there are several. `None` if the part has no files.
        against: Option<Origin>,
    },
    /// The formats' own rules were checked, but nobody states the digest of some file.
    ContentsOnly {
        /// Whether the policy lets that pass.
        allowed: bool,
    },
    /// Something is wrong.
    Failed,
    /// There was nothing to verify.
    Nothing,
}

impl Verdict {
    /// The word after `result=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Verified { .. } => "verified",
            Verdict::Part { .. } => "part",
            Verdict::ContentsOnly { .. } => "contents-only",
            Verdict::Failed => "failed",
            Verdict::Nothing => "nothing",
        }
    }

    /// Who stated the digests that the files have.
    pub fn against(self) -> Option<Origin> {
        match self {
            Verdict::Verified { against } => Some(against),
            Verdict::Part { against, .. } => against,
            _ => None,
        }
    }

    /// The worker's part that the verdict is about; `None` if it is about the whole.
    #[doc(hidden)] // for the command
    pub fn partition(self) -> Option<Partition> {
        match self {
            Verdict::Part { partition, .. } => Some(partition),
            _ => None,
        }
    }

    /// Whether it is [`Verdict::Verified`].
    pub fn is_verified(self) -> bool {
        matches!(self, Verdict::Verified { .. })
    }

    /// The verdict that follows from the selected files and from the findings, which have the severity that the
    /// policy gives them. `weights` says whether the weights of the selection are present.
    ///
    /// An error outweighs everything; then `Nothing`; then `ContentsOnly`.
    pub(crate) fn of<'a>(proofs: impl IntoIterator<Item = &'a Proof>, findings: &[Finding], weights: Weights) -> Self {
        let error = |finding: &Finding| finding.severity == Severity::Error && finding.code != Code::DigestsUnknown;
        if findings.iter().any(error) {
            return Verdict::Failed;
        }
        // `Ord` puts the strongest first, so `max` is the weakest.
        let mut against: Option<Origin> = None;
        let mut contents_only = false;
        for proof in proofs {
            let origin = proof.against();
            against = Some(against.map_or(origin, |weakest| weakest.max(origin)));
            match (&proof.evidence, origin) {
                (Evidence::Absent | Evidence::Wrong, _) => return Verdict::Failed,
                (_, Origin::Nobody) => contents_only = true,
                // The file was not read, or its digest is wrong: the verdict is `Failed` even if no finding says so.
                _ if !proof.holds() => return Verdict::Failed,
                _ => {}
            }
        }
        let said: Vec<&Finding> = findings.iter().filter(|finding| finding.code == Code::DigestsUnknown).collect();
        match against {
            None => Verdict::Nothing,
            Some(_) if weights == Weights::Unknown => Verdict::Nothing,
            Some(_) if contents_only || !said.is_empty() => {
                // Only a policy makes this finding less than an error; without the finding nothing was allowed.
                let allowed = !said.is_empty() && said.iter().all(|finding| finding.severity < Severity::Error);
                Verdict::ContentsOnly { allowed }
            }
            Some(against) => Verdict::Verified { against },
        }
    }

    /// The verdict on one worker's part; `proofs` are all of its files. A part without files proves nothing and claims
    /// nothing. It is not a failure, because running it again would not help.
    pub(crate) fn of_part<'a>(
        partition: Partition,
        proofs: impl IntoIterator<Item = &'a Proof>,
        findings: &[Finding],
        weights: Weights,
    ) -> Self {
        let mut proofs = proofs.into_iter().peekable();
        let empty = proofs.peek().is_none();
        match Verdict::of(proofs, findings, weights) {
            Verdict::Verified { against } => Verdict::Part { partition, against: Some(against) },
            Verdict::Nothing if empty && weights == Weights::Here => Verdict::Part { partition, against: None },
            other => other,
        }
    }
}

/// Whether a selection has the weights that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// They are present, or the repo's whole listing has none, or the repo is not a model.
    #[default]
    Here,
    /// None are present, and the repo's whole listing is not known, so it is not known which files are missing.
    Unknown,
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;
    use crate::finding::{Expectation, Policy};
    use crate::model::{Digest, Hasher, XetContent, XetHash, XetMerkle};

    const CODES: [Option<Code>; 5] = [
        None,
        Some(Code::WeightsAbsent),
        Some(Code::UnsafePickle),
        Some(Code::DigestsUnknown),
        Some(Code::ChecksumMismatch),
    ];

    fn digest(bytes: &[u8]) -> (Digest, Evidence) {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        let hashed = hasher.finish();
        (hashed.digest(), Evidence::Hashed(hashed))
    }

    /// The Xet hash of some bytes, which only the hasher can make; `None` in a build without Xet.
    fn xet(bytes: &[u8]) -> Option<XetMerkle> {
        let read = |buffer: &mut [u8], at: u64| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        };
        XetMerkle::of(&XetContent { size: bytes.len() as u64, read: &read, seen: &|_| {} }, 2).unwrap()
    }

    /// The Xet hash of `right`, by `hf_xet` 1.8.0.
    fn stated_xet() -> XetHash {
        "451c9e7f6b15d82b444bead7500d56c63d0b0687f6f1dbb3ae89884201ee24e3".parse().unwrap()
    }

    /// The statements of `origin`, with a Xet hash or without.
    fn expectations(right: Digest, xet: XetHash, origin: Origin) -> [Expectation; 2] {
        match origin {
            Origin::Nobody => [Expectation::UNKNOWN, Expectation { xet: Some(xet), ..Expectation::UNKNOWN }],
            origin => [None, Some(xet)].map(|xet| Expectation { xet, ..Expectation::new(5, right, origin) }),
        }
    }

    fn policies() -> [Policy; 4] {
        let policy = |deny: &[Code], allow: &[Code]| Policy::new(deny.to_vec(), allow.to_vec()).unwrap();
        [
            policy(&[], &[]),
            policy(&[Code::WeightsAbsent], &[]),
            policy(&[], &[Code::UnsafePickle]),
            policy(&[], &[Code::DigestsUnknown]),
        ]
    }

    /// The table of verdicts, written a second time and in a different way than in the function.
    fn table(proof: &Proof, right: Digest, findings: &[Finding], weights: Weights) -> Verdict {
        let is_error = |f: &Finding| f.severity == Severity::Error;
        let known = proof.expected.origin != Origin::Nobody;
        let seen = match proof.evidence {
            // It must be the stated hash, with a digest beside it.
            Evidence::XetMerkle(root) => proof.expected.xet.filter(|stated| *stated == root.hash()).map(|_| right),
            other => other.digest(),
        };
        let proven = known && seen == Some(right);
        let gone = matches!(proof.evidence, Evidence::Absent | Evidence::Wrong);
        let unknown_said = findings.iter().find(|f| f.code == Code::DigestsUnknown);
        let failed = findings.iter().any(|f| is_error(f) && f.code != Code::DigestsUnknown);
        match () {
            () if failed || gone || known && !proven => Verdict::Failed,
            () if weights == Weights::Unknown => Verdict::Nothing,
            () if !known || unknown_said.is_some() => {
                Verdict::ContentsOnly { allowed: unknown_said.is_some_and(|f| !is_error(f)) }
            }
            () if matches!(proof.evidence, Evidence::Stated(_)) => Verdict::Verified { against: Origin::Registry },
            () => Verdict::Verified { against: proof.expected.origin },
        }
    }

    #[test]
    fn verified_is_stated_exactly_where_the_evidence_is() {
        let ((right, hashed), (other, wrong_hash)) = (digest(b"right"), digest(b"other"));
        let recorded = [Evidence::Recorded(right), Evidence::Recorded(other)]
            .into_iter()
            .chain([Evidence::Stated(right), Evidence::Stated(other)]);
        let rest = [Evidence::Unread, Evidence::Absent, Evidence::Wrong];
        let xets = [xet(b"right"), xet(b"other")].into_iter().flatten().map(Evidence::XetMerkle);
        let kinds = if cfg!(feature = "xet") { 11 } else { 9 };
        let evidences = [hashed, wrong_hash].into_iter().chain(recorded).chain(rest).chain(xets);
        let mut verdicts = std::collections::BTreeMap::new();
        for evidence in evidences {
            for expected in Origin::ALL.iter().flat_map(|origin| expectations(right, stated_xet(), *origin)) {
                let origin = expected.origin;
                let proof = Proof { path: "f".parse().unwrap(), expected, evidence, stamp: None };
                let rows = CODES.into_iter().flat_map(|code| policies().map(|policy| (code, policy)));
                for ((code, policy), weights) in
                    rows.flat_map(|row| [Weights::Here, Weights::Unknown].map(|w| (row.clone(), w)))
                {
                    let mut findings: Vec<Finding> = code.map(|code| Finding::repo(code, "x")).into_iter().collect();
                    policy.judge(&mut findings);
                    let verdict = Verdict::of([&proof], &findings, weights);
                    let case = format!("{origin:?} {evidence:?} {findings:?} {weights:?}");
                    assert_eq!(verdict, table(&proof, right, &findings, weights), "{case}");
                    *verdicts.entry(verdict.as_str()).or_insert(0) += 1;
                }
            }
        }
        assert_eq!(verdicts.len(), 4, "every verdict occurs: {verdicts:?}");
        assert_eq!(verdicts.values().sum::<i32>(), kinds * 10 * 2 * 5 * 4 * 2);
    }

    #[test]
    fn a_part_is_right_exactly_where_a_whole_would_be_verified() {
        let ((right, hashed), (_, wrong)) = (digest(b"right"), digest(b"other"));
        let partition = Partition::new(2, 8).unwrap();
        let rest = [Evidence::Recorded(right), Evidence::Unread, Evidence::Absent, Evidence::Wrong];
        let xets = [xet(b"right"), xet(b"other")].into_iter().flatten().map(Evidence::XetMerkle);
        for evidence in [hashed, wrong].into_iter().chain(rest).chain(xets) {
            for expected in Origin::ALL.iter().flat_map(|origin| expectations(right, stated_xet(), *origin)) {
                let origin = expected.origin;
                let proof = Proof { path: "f".parse().unwrap(), expected, evidence, stamp: None };
                for (code, weights) in CODES.iter().flat_map(|c| [Weights::Here, Weights::Unknown].map(|w| (c, w))) {
                    let findings: Vec<Finding> = code.map(|code| Finding::repo(code, "x")).into_iter().collect();
                    let part = Verdict::of_part(partition, [&proof], &findings, weights);
                    let wanted = match Verdict::of([&proof], &findings, weights) {
                        Verdict::Verified { against } => Verdict::Part { partition, against: Some(against) },
                        other => other,
                    };
                    assert_eq!(part, wanted, "{origin:?} {evidence:?} {findings:?} {weights:?}");
                    assert!(!part.is_verified());
                }
            }
        }
    }

    #[test]
    fn a_part_without_files_claims_nothing_and_fails_only_if_something_is_wrong() {
        let partition = Partition::new(9, 9).unwrap();
        let empty = Verdict::of_part(partition, [], &[], Weights::Here);
        assert_eq!(empty, Verdict::Part { partition, against: None });
        assert_eq!(Verdict::of_part(partition, [], &[], Weights::Unknown), Verdict::Nothing);
        let error = [Finding::repo(Code::PathUnsafe, "x")];
        assert_eq!(Verdict::of_part(partition, [], &error, Weights::Here), Verdict::Failed);
    }

    #[test]
    fn a_xet_hash_proves_a_file_only_if_the_same_origin_states_it_and_is_not_a_sha256() {
        let Some(root) = xet(b"right") else { return };
        let (right, _) = digest(b"right");
        let evidence = Evidence::XetMerkle(root);
        let other = XetHash::from_str(&"a".repeat(64)).unwrap();
        let stated = |xet| Expectation { xet, ..Expectation::new(5, right, Origin::KeptListing) };
        for (xet, verdict) in [
            (Some(stated_xet()), Verdict::Verified { against: Origin::KeptListing }),
            (Some(other), Verdict::Failed),
            (None, Verdict::Failed),
        ] {
            let proof = Proof { path: "f".parse().unwrap(), expected: stated(xet), evidence, stamp: None };
            assert_eq!(Verdict::of([&proof], &[], Weights::Here), verdict, "{xet:?}");
        }
        assert_eq!((evidence.digest(), evidence.sha256()), (None, None));
    }

    #[test]
    fn the_weakest_of_several_origins_is_named() {
        let (right, hashed) = digest(b"right");
        let proofs = [Origin::Hub, Origin::KeptListing, Origin::Lock].map(|origin| Proof {
            path: "f".parse().unwrap(),
            expected: Expectation::new(5, right, origin),
            evidence: hashed,
            stamp: None,
        });
        assert_eq!(Verdict::of(&proofs, &[], Weights::Here), Verdict::Verified { against: Origin::KeptListing });
    }

    #[test]
    fn no_files_give_nothing_and_an_error_outweighs_that() {
        assert_eq!(Verdict::of([], &[], Weights::Here), Verdict::Nothing);
        let error = [Finding::repo(Code::PathUnsafe, "x")];
        assert_eq!(Verdict::of([], &error, Weights::Here), Verdict::Failed);
    }
}
