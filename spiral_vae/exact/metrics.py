"""The metrics, declared once: evaluation, tables, figures and docs read what is said here."""

import dataclasses

AXES = ("x", "y", "z")  # names of data dimensions, where there are no more than these


def axes_of(dim: int) -> tuple[str, ...]:
    """Returns the names of data dimensions; none where there are too many for names."""
    return AXES[:dim] if dim <= len(AXES) else ()


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number that is known of a trained model; a column of summary.csv."""

    name: str
    meaning: str
    unit: str = "nats per point"
    label: str = ""  # in figures, in matplotlib's mathematics; empty: the name
    heading: str = ""  # in tables of text; empty: the name
    form: str = "{:.4f}"  # of a number in such tables
    log: bool = False  # whether its natural scale is logarithmic
    needs: tuple[
        str, ...
    ] = ()  # 'truth' (a known curve), 't', 'new points', 'held-out points', ...

    @property
    def axis(self) -> str:
        """The label of an axis."""
        name = self.label or self.name
        return f"{name}, {self.unit}" if self.unit else name


_TRUTH = ("truth",)
_ONE = ("one latent",)
_HELD_OUT = ("held-out points",)
_SEQUENCES = ("sequences",)  # of a known curve
_GAUSSIAN_SEQUENCES = ("sequences", "a Gaussian q")
_NEW = ("new points",)  # of a truth, or held out
_START = ("a start by order",)

_ALL = (
    Metric("elbo", "the bound at beta = 1, mean over the training points", label="ELBO"),
    Metric("reconstruction", "its first term's negative", label=r"$-\mathrm{E}_q \log p(x|z)$"),
    Metric(
        "kl_to_prior",
        "its second term",
        label=r"$\mathrm{KL}(q(z|x)\,\|\,p(z))$",
        heading="kl",
        form="{:.3f}",
    ),
    Metric("nll", "-E log p under p*", label="nll", needs=_TRUTH),
    Metric("nll_error", "what halving the nodes changes in it", log=True, needs=_TRUTH),
    Metric(
        "kl_to_truth",
        "KL(p*||p), the distance of the learned density from the true one",
        label=r"$\mathrm{KL}(p^*\|\,p)$",
        heading="kl to truth",
        log=True,
        needs=_TRUTH,
    ),
    Metric("kl_to_truth_error", "what halving the nodes changes in it", log=True, needs=_TRUTH),
    Metric(
        "kl_from_truth",
        "KL(p||p*); empty for a sigma too small for a grid and for a Student-t",
        label=r"$\mathrm{KL}(p\,\|\,p^*)$",
        log=True,
        needs=_TRUTH,
    ),
    Metric(
        "recovered_fraction",
        "1 - kl_to_truth over that of the best collapsed model",
        unit="",
        needs=_TRUTH,
    ),
    Metric(
        "nll_held_out",
        "-log p, mean over the points that were held out",
        label="nll, held out",
        heading="nll held out",
        needs=_HELD_OUT,
    ),
    Metric("nll_held_out_error", "its standard error", log=True, needs=_HELD_OUT),
    Metric("train_log_evidence", "mean log p of the training points"),
    Metric(
        "overfit_gap",
        "by how much it exceeds that of new points",
        heading="overfit",
        needs=_NEW,
    ),
    Metric(
        "overfit_gap_error", "its standard error, for held-out points", log=True, needs=_HELD_OUT
    ),
    Metric(
        "inference_gap",
        "log p - ELBO, mean over the training points",
        label=r"$\log p(x) - $ELBO",
        heading="gap",
    ),
    Metric(
        "inference_gap_new",
        "the same over points that the encoder has not seen: 1 000 of the truth, or held out",
        label=r"$\log p(x) - $ELBO, new points",
        heading="new gap",
        needs=_NEW,
    ),
    Metric(
        "encoder_overfit",
        "by how much the gap at new points exceeds that at the training points",
        needs=_NEW,
    ),
    Metric(
        "approximation_gap",
        "its part that the best Gaussian leaves, over evaluate.gap_points along the curve",
        needs=_ONE,
    ),
    Metric(
        "amortisation_gap",
        "what the encoder loses against the best Gaussian, over the same points",
        needs=_ONE,
    ),
    Metric(
        "family_gap",
        "the part that the best member of q's family leaves, over the same points; of a family "
        "other than the Gaussian the best one found",
        needs=_ONE,
    ),
    *(
        Metric(f"{name}_new", "the same over as many of the new points", needs=(*_NEW, *_ONE))
        for name in ("approximation_gap", "amortisation_gap", "family_gap")
    ),
    Metric(
        "start_log_evidence",
        "log p of the curve that the training started with, mean over the training points",
        needs=_START,
    ),
    Metric("start_agreed", "whether two searches found that curve", unit="", needs=_START),
    Metric(
        "start_correlation",
        "of neighbouring z in a sequence, by the slow feature that the training started with",
        unit="",
        needs=("a start by a slow feature",),
    ),
    Metric("information", "I_q(x; z)", label=r"$I_q(x; z)$", needs=_ONE),
    Metric(
        "aggregate_kl",
        "KL(q(z)||p(z)); with the information it adds up to kl_to_prior",
        label=r"$\mathrm{KL}(q(z)\,\|\,p(z))$",
        needs=_ONE,
    ),
    Metric(
        "collapse_sigma",
        "the data's largest standard deviation in any direction; a sigma above it collapses",
        unit="of x",
    ),
    Metric("sigma", "the decoder's noise: root mean square over z and dimensions", unit="of x"),
    *(
        Metric(f"sigma_{axis}", f"the same of the dimension {axis} alone", unit="of x")
        for axis in AXES
    ),
    Metric("noise_correlation", "of the two dimensions of the noise", unit="", needs=("plane",)),
    Metric(
        "sigma_ratio",
        "sigma over that of the truth",
        unit="",
        label=r"$\sigma$ / true $\sigma$",
        log=True,
        heading="sigma",
        form="{:.3f}",
        needs=_TRUTH,
    ),
    *(
        Metric(
            f"sigma_{axis}_ratio",
            f"the same of the dimension {axis} alone",
            unit="",
            label=rf"$\sigma_{axis}$ / true $\sigma_{axis}$",
            log=True,
            needs=_TRUTH,
        )
        for axis in AXES
    ),
    Metric(
        "sigma_log_ratio_rms",
        "ln(sigma_i / true sigma_i) along the true curve: root mean square",
        unit="",
        needs=_TRUTH,
    ),
    Metric("sigma_log_ratio_max", "the same: largest", unit="", needs=_TRUTH),
    Metric(
        "residual_ratio",
        "E||x - m(z)||^2 / D under q, in units of the decoder's noise",
        unit="",
    ),
    Metric(
        "spearman",
        "rank correlation of t and the mean of q(z|x); its sign means nothing",
        unit="",
        label=r"Spearman's $\rho$",
        form="{:+.4f}",
        needs=("t",),
    ),
    Metric(
        "order_of_curve",
        "|rank correlation| of the place on the curve and the mean of q(z|x), for points without "
        "noise; pieces may come in any order",
        unit="",
        label=r"$|$Spearman's $\rho|$ along the curve",
        heading="order",
        needs=_TRUTH,
    ),
    Metric(
        "order_of_decoder",
        "the same of z and the place on the curve that is nearest to the decoder's mean",
        unit="",
        needs=(*_TRUTH, *_ONE),
    ),
    Metric("found", "whether these orders exceed 0.98: it runs along the curve", "", needs=_TRUTH),
    Metric("map_error", "RMS distance of Phi(mean) from F(t)", unit="", needs=(*_TRUTH, *_ONE)),
    Metric(
        "truth_to_curve",
        "RMS distance of the true curve to the decoder's",
        "noise sigmas",
        needs=_TRUTH,
    ),
    Metric(
        "curve_to_truth",
        "RMS distance of the decoder's curve to the true one",
        "noise sigmas",
        needs=_TRUTH,
    ),
    Metric(
        "hausdorff_99", "the larger of the 99 % quantiles of both", "noise sigmas", needs=_TRUTH
    ),
    Metric(
        "reconstruction_to_truth",
        "RMS distance of the training points' reconstructions to the true curve",
        "noise sigmas",
        needs=_TRUTH,
    ),
    Metric("active_units", "latents whose mean varies by more than 0.01; 0: collapse", unit=""),
    Metric("max_scale_deviation", "largest |s - 1| of q's scale; 0: collapse", unit=""),
    Metric(
        "order_parameter",
        "sup_z ||m(z) - E x||^2 / tr Cov(x); 0: collapse",
        unit="",
        needs=_TRUTH,
    ),
    Metric(
        "sbc_ks",
        "Kolmogorov-Smirnov distance of simulation-based calibration, of 2 000 draws",
        unit="",
        needs=_ONE,
    ),
    Metric("coverage_50", "share of draws in q's central 50 % interval", unit="", needs=_ONE),
    Metric("coverage_90", "share of draws in q's central 90 % interval", unit="", needs=_ONE),
    Metric(
        "overconfident",
        "whether the information exceeds the truth's by 0.5 nats",
        unit="",
        needs=(*_TRUTH, *_ONE),
    ),
    Metric(
        "kl_rate_to_truth",
        "KL(p*||p) of whole sequences over their length, over 40 fresh ones",
        label=r"KL rate to the truth",
        heading="kl rate",
        log=True,
        needs=_SEQUENCES,
    ),
    Metric("kl_rate_error", "its standard error", log=True, needs=_SEQUENCES),
    Metric(
        "kl_rate_doubling",
        "what doubling the nodes of z changes in the evidence of a sequence",
        log=True,
        needs=_SEQUENCES,
    ),
    Metric(
        "nll_rate",
        "-log p of a fresh sequence over its length",
        heading="nll rate",
        needs=_SEQUENCES,
    ),
    Metric(
        "nll_rate_error",
        "its standard error, of sequences of one's own that were held out",
        heading="error",
        needs=("sequences", "held-out points"),
    ),
    Metric("entropy_rate", "the same under the truth", needs=_SEQUENCES),
    Metric(
        "gap_rate",
        "log p - ELBO of a fresh sequence over its length",
        heading="gap rate",
        needs=_SEQUENCES,
    ),
    Metric(
        "family_gap_rate",
        "its part that the best Gaussian of the sequence leaves",
        needs=_GAUSSIAN_SEQUENCES,
    ),
    Metric(
        "structure_gap_rate",
        "its part that independent points cost; 0 where q ties them",
        needs=_GAUSSIAN_SEQUENCES,
    ),
    Metric(
        "amortisation_gap_rate",
        "its part that the encoder loses against the best of its kind",
        needs=_GAUSSIAN_SEQUENCES,
    ),
    Metric(
        "mean_field_gap_rate",
        "log p - ELBO of the best independent Gaussians, whatever q is",
        needs=_GAUSSIAN_SEQUENCES,
    ),
    Metric(
        "refined_gap_rate",
        "gap_rate after 8 passes of refinement",
        needs=("sequences", "potentials"),
    ),
    Metric(
        "order_of_path",
        "|rank correlation| of z and its mean given all of a fresh sequence",
        unit="",
        heading="path",
        needs=_SEQUENCES,
    ),
    Metric("path_found", "order_of_path > 0.98", unit="", needs=_SEQUENCES),
    Metric("correlation", "of neighbouring z in a sequence", unit="", needs=_SEQUENCES),
    Metric(
        "tau_ratio",
        "the time constant -1 / ln(correlation) over that of the truth",
        unit="",
        label=r"$\tau$ / true $\tau$",
        log=True,
        heading="tau",
        form="{:.3f}",
        needs=_SEQUENCES,
    ),
    Metric(
        "innovation_ratio",
        "the variance 1 - correlation^2 of a step of z over that of the truth",
        unit="",
        label=r"$Q$ / true $Q$",
        log=True,
        needs=_SEQUENCES,
    ),
    *(
        Metric(
            f"forecast_excess_{horizon}",
            f"by how much the truth forecasts a point {horizon} ahead better",
            needs=_SEQUENCES,
        )
        for horizon in range(1, 11)
    ),
    Metric(
        "imputation_excess",
        "by how much the truth fills in a point better, of ten in a row",
        needs=_SEQUENCES,
    ),
    *(
        Metric(
            f"bimodal_{name}",
            f"share of points whose posterior of z given {given} has a second mode of 5 %",
            unit="",
            needs=_SEQUENCES,
        )
        for name, given in (
            ("alone", "the point alone"),
            ("filtered", "the points up to it"),
            ("smoothed", "the sequence"),
        )
    ),
    Metric("recovered", "kl_to_truth < 0.06 and found", unit="", needs=_TRUTH),
    Metric("collapsed", "kl_to_prior < 0.01", unit=""),
)

METRICS = {metric.name: metric for metric in _ALL}


def in_order(metrics: dict[str, float]) -> dict[str, float]:
    """Returns metrics in the order in which they are declared.

    Raises:
      KeyError: one of them is not declared.
    """
    names = list(METRICS)
    return dict(sorted(metrics.items(), key=lambda item: names.index(METRICS[item[0]].name)))
