"""The default experiment: a VAE on a noisy spiral, fixed sigma.

    python -m spiral_vae.main --config=configs/base.py --config.likelihood.sigma=0.1

Variants import this file and state only how they differ. What each field may be is declared in
the class that uses it; docs/fields.md lists all of them. A field that is set where nothing uses it
is refused.
"""

import math

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    """Returns the default config."""
    config = ml_collections.ConfigDict()

    config.seed = 0  # seed of the first lane, 0 .. 2**32 - 1
    config.num_seeds = 1  # lanes seed, seed + 1, ...; >= 1
    # Axes of a sweep, as --sweep: strings such as 'likelihood.sigma=0.0001,0.2,2.0'. The lanes are
    # the product of all axes and the seeds.
    config.sweep = ()
    # Lanes that are vmapped together on one device, 2 .. 64. It belongs to the config and never to
    # the machine, so that results don't depend on the machine. At least two, even for a lone run,
    # since XLA compiles a width of one to other roundings.
    config.cell_width = 8

    config.data = data = ml_collections.ConfigDict()
    # 'spiral': r = rdot t, angle = omega t | curves of a standard size: 'circle' | 'rings' |
    # 'two_moons' | 'figure_eight' | 's_curve' | 'swiss_roll' | 'lissajous' | 'eight_gaussians' |
    # 'helix', of three dimensions | 'table': points of a file
    data.kind = "spiral"
    # >= 2; of a table all rows but those that are held out, unless it says another number
    data.num_points = 200
    data.omega = 2.8 * math.pi  # angle per unit t, rad; any
    data.rdot = 2.5  # radius per unit t; not 0
    data.path = ""  # of a table: .csv, .tsv, .npy or .npz
    data.sha256 = ""  # of its content; set when a run begins
    data.columns = ""  # names of those that are the data, with commas; empty: all
    data.t_column = ""  # name of one that is the place along a curve, if that is known
    data.sequence_column = ""  # name of one that says to which sequence a row belongs
    data.time_column = ""  # name of one of times, multiples of a step, within sequences
    data.steps = 1  # places of a sequence of a table; set when a run begins
    data.places = 0  # of all of a table; set when a run begins
    data.standardise = True  # columns less their mean, over their standard deviation
    data.held_out = 0.2  # share of the rows that are not trained on, 0 .. 0.9
    data.size = 1.0  # factor on a standard size, > 0
    data.num_rings = 2  # of 'rings', 2 .. 16
    data.frequency_x = 3  # of 'lissajous', 1 .. 16
    data.frequency_y = 2
    data.phase = 0.5 * math.pi  # of its first axis, rad
    data.noise_sigma = 0.2  # standard deviation of the noise, each dimension; > 0
    data.noise_sigma_x = placeholder(float)  # > 0; of the first axis alone, none: noise_sigma
    data.noise_sigma_y = placeholder(float)  # > 0; of the second axis alone, none: noise_sigma
    data.noise_slope = 0.0  # growth of both per unit t, >= 0: the noise at t = 0 is as above
    data.noise_angle = 0.0  # rotation of the two axes of the noise, rad; any
    data.t_law = "sqrt"  # of a spiral: 'sqrt': t = sqrt(u), even along it | 'uniform': t = u
    data.u_start = 0.01  # of a spiral: 0 <= u_start < u_stop <= 1
    data.u_stop = 1.0
    # Places on an even 'grid' | 'random': drawn each for itself | 'sequence': that move along it
    data.design = "grid"
    data.length = 40  # points of a 'sequence', >= 2; num_points and batch_size are multiples of it
    data.a = 0.98  # correlation of neighbours in a 'sequence', [0, 1)
    data.missing = 0.0  # share of the points of a 'sequence' that are not seen, 0 .. 0.9

    config.model = model = ml_collections.ConfigDict()
    model.latent_dim = 1  # 1 .. 2; the exact evaluation is refused beyond
    model.encoder = ml_collections.ConfigDict()
    model.encoder.hidden_dim = 32  # units of a hidden layer, >= 1
    model.encoder.hidden_layers = 1  # tanh layers, >= 1
    # Pairs of sin and cos of random directions of x beside x, >= 0; standard deviation of their
    # frequencies, rad per unit x, > 0. For curves that wind often.
    model.encoder.fourier_features = 0
    model.encoder.fourier_scale = 1.0
    model.decoder = ml_collections.ConfigDict()
    model.decoder.hidden_dim = 32
    model.decoder.hidden_layers = 1
    # Factor on the range in which its first layer starts, > 0; more for a curve that winds often.
    model.decoder.first_layer = 1.0

    config.posterior = posterior = ml_collections.ConfigDict()
    # 'gaussian': diagonal | 'full_covariance': Gaussian, for two latents | 'mixture' of Gaussians |
    # 'spline': any shape on the line, for one latent | 'potential': the prior times a Gaussian
    # potential, which 'dynamics' tie together
    posterior.kind = "gaussian"
    posterior.num_components = 4  # Gaussians of a 'mixture', 1 .. 64
    posterior.num_bins = 8  # pieces of a 'spline', 2 .. 64
    # Passes by which the decoder refines the 'potential's of a sequence, 0 .. 100; 8 are enough.
    posterior.refinement = 0

    config.likelihood = likelihood = ml_collections.ConfigDict()
    # 'fixed': sigma is given | 'closed_form': the mean residual | 'learned': by gradient |
    # 'geco': from a tolerance | 'per_dimension' | 'full_covariance' | 'heteroscedastic': sigma(z)
    likelihood.kind = "fixed"
    likelihood.sigma = 0.2  # standard deviation (not variance) of p(x|z), or where it starts; > 0
    # 'fixed' and 'learned': fraction of the training, 0 .. 0.95, in which noise is added to that of
    # the likelihood, less and less, from anneal_from times the data's largest standard deviation
    # on (> 0). So several turns are found; with 1 and more a model collapses.
    likelihood.anneal = 0.0
    likelihood.anneal_from = 0.9
    # 'learned': numbers of the data, c >= 0, that the curve follows beyond its noise; sigma^2 is
    # the sum of squares over n D - c. 0 is maximum likelihood, whose sigma is too small.
    likelihood.freedom = 0.0
    # Of closed_form, per_dimension and full_covariance: over the 'full_data' of an epoch | the
    # 'batch' | a 'moving_average' of batches; the latter two kinds also 'learned'.
    likelihood.estimator = "full_data"
    # Weight of the newest batch in a moving average, (0, 1]: of that estimator, and of the one
    # sigma of a heteroscedastic warm-up.
    likelihood.averaging = 0.05
    likelihood.learning_rate = 1e-3  # of a learned log sigma, >= 0
    # 'geco': root mean square error a dimension that is aimed at, > 0; none: it is found.
    likelihood.kappa = placeholder(float)
    likelihood.geco_rate = 0.01  # of log lambda a step, for a relative excess of 1; > 0
    likelihood.geco_averaging = 0.99  # weight of the past in the average of the excess, [0, 1)
    # 'heteroscedastic': 'none' | 'beta_nll' | 'faithful' | 'warmup' | 'student_t' | 'variational';
    # 'per_dimension' and 'full_covariance': 'none' | 'warmup'
    likelihood.stabiliser = "none"
    likelihood.beta_nll = 0.5  # 'beta_nll': the gradient is weighted by var^beta_nll, [0, 1]
    likelihood.warmup = 0.5  # 'warmup': fraction of the training with one sigma, [0, 1]
    likelihood.floor = 0.0  # 'heteroscedastic': least standard deviation, >= 0
    likelihood.weight_decay = 0.0  # 'heteroscedastic': of the variance head, >= 0

    config.objective = objective = ml_collections.ConfigDict()
    # 'elbo' | 'iwae': the log of the mean of num_samples weights | 'evidence': maximum likelihood,
    # the encoder fitted to the exact posterior beside it
    objective.kind = "elbo"
    objective.beta = 1.0  # weight of the KL, >= 0; 1 is the ELBO
    # Samples of z per point and step, of a mixture of each component; >= 1. Of 'evidence' the nodes
    # of z, such as 256.
    objective.num_samples = 1
    # Of the nodes of 'evidence': of equal 'mass' | 'even' in z, which dynamics need.
    objective.spacing = "mass"
    # Of the gradient: 'reparameterised' | 'stl' for 'elbo', which sticks the landing: less variance
    # where q is near the posterior | 'dreg' for 'iwae', doubly reparameterised; not for a mixture.
    objective.estimator = "reparameterised"
    # Fraction of the training over which the KL's weight rises linearly from 0 to beta; 0 .. 0.9,
    # so that at least the last tenth runs at full weight.
    objective.kl_warmup = 0.0

    config.encoder = encoder = ml_collections.ConfigDict()
    # First fraction of the training, 0 .. 0.9, in which the encoder learns by -log q(z|x) of draws
    # of the model ('sleep').
    encoder.sleep = 0.0
    # Last fraction, 0 .. 0.9, in which the decoder is frozen and the encoder learns by the
    # objective on draws of the model. Both together at most 1.
    encoder.after = 0.0

    config.dynamics = dynamics = ml_collections.ConfigDict()
    # 'none': each point for itself | 'markov': z of the neighbours in a sequence are correlated
    dynamics.kind = "none"
    dynamics.start = 0.9  # the correlation from which it is learned, (0, 1)
    dynamics.learning_rate = 0.01  # of the logarithm of the time constant, > 0

    config.start = start = ml_collections.ConfigDict()
    # 'none' | 'order': an order of the points along the curve, found before the training, towards
    # which its first part is pulled: several turns are found | 'slow_feature' of sequences
    start.kind = "none"
    start.weight = 3.0  # of the pull at first, >= 0
    start.share = 0.3  # of the training over which it fades to 0, in [0.001, 1]
    start.num_cuts = 250  # of the curve in each of three rounds of an attempt, >= 0
    start.max_attempts = 6  # of the search, which ends when two agree; >= 1
    start.degree = 6  # of the polynomials of x among which the slowest is looked for, 1 .. 12
    start.lag = 4  # points over which it should change little, 1 .. data.length - 1

    config.optimizer = optimizer = ml_collections.ConfigDict()
    optimizer.encoder_learning_rate = 1e-3  # Adam, >= 0; 0 freezes the network
    optimizer.decoder_learning_rate = 1e-3
    optimizer.decoder_weight_decay = 0.0  # relative to its learning rate (AdamW), >= 0
    optimizer.schedule = "constant"  # 'constant' | 'step' | 'cosine' (to zero)
    optimizer.decay_every = 5_000  # 'step': epochs between two decays, >= 1
    optimizer.decay_factor = 0.5  # 'step': factor of one decay, in (0, 1]
    # 'cosine': fraction of the training, 0 .. 0.9, with a linear rise before the cosine.
    optimizer.warmup = 0.0

    config.train = train = ml_collections.ConfigDict()
    train.num_epochs = 20_000  # passes over the data, >= 1
    train.batch_size = 100  # points a step, 1 .. data.num_points
    train.shuffle = True  # a new order of the points each epoch
    # Epochs that one row of the training metrics averages over, >= 1; also the length of one
    # compiled chunk.
    train.log_every = 100
    # 'fully' | 'quickly': in less than half the time, to code that is ten times as slow and rounds
    # otherwise; for runs of a few hundred epochs, on CPU.
    train.compiled = "fully"

    config.evaluate = ml_collections.ConfigDict()
    # Fraction of the training between two looks at the exact metrics, in (0, 1]; 0 = never.
    config.evaluate.every = 0.05
    # Snapshots of the params while the epochs grow tenfold, 0 .. 100; 0 = none.
    config.evaluate.snapshots = 9
    # Points, and as many new ones, over which the gap is taken apart, 0 .. 1000; 0 = none.
    config.evaluate.gap_points = 24

    config.checkpoint = checkpoint = ml_collections.ConfigDict()
    # Chunks (of train.log_every epochs) between two checkpoints, besides the one at the end; 0:
    # none but when the run is stopped.
    checkpoint.every = 100
    checkpoint.keep = 2  # newest checkpoints of each cell that are kept, >= 1

    return config
