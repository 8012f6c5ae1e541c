# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Adding to trained models what they do not tell of the numbers of galaxies."""

from __future__ import annotations

__all__ = ("add_counts",)

from ..classifiers import find_classifier
from ..model_package import ModelPackage
from .scenes import LabelledScenes


def add_counts(package: ModelPackage, labelled: LabelledScenes) -> ModelPackage:
    """Learn what `.classifiers.BlendClassifier.fit_counts` does for a trained model; all else of it stays.

    Parameters
    ----------
    package
        Model of a classifier.
    labelled
        Labelled footprints; what the model computes from pixels has to be there if it gives P(blended) alone.

    Returns
    -------
    package
        The model with the mean of N if it is at least 4, and P(N).

    Raises
    ------
    ModelPackageError
        Raised if it is a model of something else.
    """
    classifier = find_classifier(package).from_package(package)
    classifier.fit_counts(labelled)
    metadata = dict(package.metadata)
    metadata["counts"] = classifier.to_package().metadata["counts"]
    metadata["training"] = metadata["training"] | {
        "counts": {"scenes": len(labelled.provenance), "footprints": len(labelled.counts)}
    }
    return ModelPackage(package.classifier, metadata, package.arrays, package.source)
