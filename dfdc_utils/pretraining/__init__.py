"""A model made of photographs of real faces and blends of them: the recipe, what the encoder sees, figures, card."""

from dfdc_utils.pretraining.recipe import PretrainingConfig, pretrain

__all__ = ["PretrainingConfig", "pretrain"]
