//! Turns the problems of the formats' readers into findings. The readers decide the text and the severity.

use hfget_formats::{Problem, ProblemKind as Kind};

use crate::finding::{Code, Finding, Remedy};

/// The findings of a reader's problems.
pub(super) fn found(problems: Vec<Problem>) -> Vec<Finding> {
    problems.into_iter().map(Finding::from).collect()
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        let mut finding = Finding::new(code(problem.kind), problem.file, problem.message).severity(problem.severity);
        (finding.tensor, finding.at) = (problem.tensor.map(Into::into), problem.at);
        match problem.kind {
            Kind::UnsafePickle => finding.remedy(Remedy::AvoidPickle),
            _ => finding,
        }
    }
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::SizeMismatch => Code::SizeMismatch,
        Kind::ChecksumMismatch => Code::ChecksumMismatch,
        Kind::FileMissing => Code::FileMissing,
        Kind::ShardMissing => Code::ShardMissing,
        Kind::TensorMissing => Code::TensorMissing,
        Kind::TensorMisplaced => Code::TensorMisplaced,
        Kind::TensorUnindexed => Code::TensorUnindexed,
        Kind::TensorDuplicate => Code::TensorDuplicate,
        Kind::TotalSizeMismatch => Code::TotalSizeMismatch,
        Kind::IndexInvalid => Code::IndexInvalid,
        Kind::TensorOutOfBounds => Code::TensorOutOfBounds,
        Kind::DataGap => Code::DataGap,
        Kind::DataOverlap => Code::DataOverlap,
        Kind::DtypeUnknown => Code::DtypeUnknown,
        Kind::UnsafePickle => Code::UnsafePickle,
        Kind::NeedsFullUnpickle => Code::NeedsFullUnpickle,
        Kind::TorchscriptCode => Code::TorchscriptCode,
        Kind::KerasLambda => Code::KerasLambda,
        Kind::GraphFileAccess => Code::GraphFileAccess,
        Kind::PickleInvalid => Code::PickleInvalid,
        Kind::ArchiveInvalid => Code::ArchiveInvalid,
        Kind::FormatUnexpected => Code::FormatUnexpected,
        Kind::ExternalDataMissing => Code::ExternalDataMissing,
        Kind::SplitIncomplete => Code::SplitIncomplete,
        Kind::PathUnsafe => Code::PathUnsafe,
        Kind::WeightsUnread => Code::WeightsUnread,
        // The enum grows with the formats; a kind without a code of its own is a broken rule of a format.
        Kind::HeaderInvalid | _ => Code::HeaderInvalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_as_bad_as_its_code_and_has_one_of_its_own() {
        let mut codes = std::collections::BTreeSet::new();
        for &kind in Kind::ALL {
            let finding = Finding::from(Problem::new(kind, "f", "x"));
            assert_eq!(finding.severity, finding.code.severity(), "{kind:?}");
            assert!(codes.insert(finding.code), "{kind:?}");
        }
    }
}
