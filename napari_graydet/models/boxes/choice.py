"""Which box detector is the best on held-out images: the network, or one of the simple rivals.

The network is only the default where no rival does better (METHOD.md, section 3: they are strong).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_graydet.models.boxes.detector import BoxModel
from napari_graydet.models.boxes.interval import IntervalModel
from napari_graydet.models.boxes.scores import IOU, SHARE, ScoredRoi, box_scores
from napari_graydet.models.learning.chance import chance
from napari_graydet.models.learning.loop import Scores

NETWORK = "pointnet"

SPREAD = 0.025
"""Standard deviation over images of the difference in IoU between the network and a good rival
(docs/decisions/0015)."""


def with_best_rival(
    model: BoxModel, rivals: Sequence[IntervalModel], rois: Sequence[ScoredRoi], images: int
) -> tuple[BoxModel, Scores]:
    """Let a simple rival take the network's place where it does better on held-out images.

    Better means by more than chance.

    Parameters
    ----------
    model
        With the trained network.
    rivals
        Fitted to the same training images, the simplest first: it wins a draw.
    rois
        Held-out ROIs (`scores.scored_rois`).
    images
        How many images these are from.

    Returns
    -------
    model
        The same network, with the rival that is to be used, or none.
    table
        Each candidate's mean IoU as a share of the ceiling; the network's is "pointnet".
    """
    network = replace(model, rival=None)
    if not rois or not rivals:
        return network, {}
    own = box_scores(network, rois)
    scores = {rival.kind: box_scores(replace(model, rival=rival), rois) for rival in rivals}
    table = {kind: found[SHARE] for kind, found in scores.items()} | {NETWORK: own[SHARE]}
    best = max(rivals, key=lambda rival: scores[rival.kind][IOU])
    ahead = scores[best.kind][IOU] - own[IOU] > chance(SPREAD, images)
    return (replace(model, rival=best) if ahead else network), table
