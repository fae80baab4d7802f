"""Every field of a run, with its default: MNIST, a small CNN, SGD with a one-cycle schedule.

To make a config of your own, copy this file, or import it as the other files of this folder do and change a
few lines. Each field is also a flag, such as `--config.train.batch_size=256`. `make docs` generates this
file from the table in mnist_jax/config/fields.py; docs/config.md adds the rule of each field.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0  # seed of parameters, example order, augmentation and dropout
    config.dtype = "float32"  # float32 | bfloat16: computation dtype; parameters are always float32
    config.tensorboard = False  # write TensorBoard's event files to WORKDIR/tensorboard
    config.profile = 0  # steps to trace into profile/ of the workdir; 0: none

    # Data set, splits and normalization.
    config.data = ml_collections.ConfigDict()
    config.data.name = "mnist"  # TFDS name, such as "cifar10"; "digits": bundled; "folder", "table": your own
    config.data.dir = ""  # folder: path of train/CLASS/IMAGE; table: path of .npz, .csv, .parquet
    config.data.skip_broken = False  # folder: leave out images that cannot be read
    config.data.train = "train[:-5000]"  # TFDS split expression; splits share no examples; "": the set's own
    config.data.validation = "train[-5000:]"  # chooses the checkpoint
    config.data.test = "test"  # read once, at the end
    config.data.folds = 0  # cross-validation: number of folds of train and validation; 0: none
    config.data.fold = 0  # the fold that validates; the others train
    config.data.fold_seed = 0  # seed of the assignment of examples to folds
    config.data.data_dir = ""  # prepared and downloaded sets; "": $TFDS_DATA_DIR or ~/tensorflow_datasets
    config.data.manual_dir = ""  # folder with the original files of the set, to prepare it without a download
    config.data.cache_dir = ""  # decoded sets; "": mnist_jax in the user's cache folder
    config.data.image_size = 0  # image side in pixels, see fit; 0: images keep their size
    config.data.fit = "pad"  # pad | crop | stretch: how images become square; pad: with a border
    config.data.mean = (0.1307,)  # subtracted from pixels in [0, 1]; one, or one per channel; (): of train
    config.data.std = (0.3081,)  # divides pixel values; as many values as mean
    config.data.placement = "auto"  # auto | device | host: memory that holds the images; auto: by size

    # Random changes of training images, drawn again at each step.
    config.augment = ml_collections.ConfigDict()
    config.augment.shift = 0.0  # maximum shift along each axis in pixels, fractions included
    config.augment.rotation = 0.0  # maximum rotation in degrees, either way
    config.augment.scale = 0.0  # maximum relative change of size
    config.augment.shear = 0.0  # maximum shear: pixels sideways per pixel up
    config.augment.elastic = 0.0  # standard deviation in pixels of a smooth random displacement field
    config.augment.crop = 0  # maximum shift along each axis in whole pixels; reflection fills the border
    config.augment.flip = False  # mirror left to right with probability 1/2
    config.augment.resized_crop = 0.0  # smallest fraction of the area to cut out and enlarge; 0.0: none
    config.augment.brightness = 0.0  # maximum relative change of brightness
    config.augment.contrast = 0.0  # maximum relative change of contrast
    config.augment.saturation = 0.0  # maximum relative change of saturation; grey images do not change
    config.augment.trivial = False  # TrivialAugment: one random change of shape or colour an image
    config.augment.cutout = 0  # side in pixels of a black square at a random position; 0: none
    config.augment.mixup = 0.0  # alpha of Beta, for the weight of another image blended in; 0.0: none
    config.augment.cutmix = 0.0  # alpha of Beta, for the area of a box of another image; 0.0: none

    # Network.
    config.model = ml_collections.ConfigDict()
    config.model.name = "cnn"  # network: cnn, airbench, mlp, resnet, or a model of your own
    config.model.kwargs = ""  # own models: keyword arguments, such as "width=64"
    config.model.widths = (32, 64)  # channels of each convolution, block or stage; mlp: of each hidden layer
    config.model.kernel = 3  # kernel size of the convolutions
    config.model.depth = 2  # airbench: convolutions per block; resnet: blocks per stage
    config.model.residual = False  # airbench: add the first convolution's output to the last's, in each block
    config.model.whitening = True  # airbench: whiten patches of 2 x 2 pixels first
    config.model.whitening_init = False  # cnn: start the first convolution as filters that whiten the images
    config.model.stem = 1  # airbench, cnn, resnet: side in pixels of the patches of the first layer; 1: none
    config.model.dense = 256  # cnn: width of the hidden dense layer
    config.model.activation = "relu"  # relu | gelu | silu: activation function
    config.model.pooling = "average"  # average | max: pooling
    config.model.norm = "none"  # none | batch | group: normalization after each convolution
    config.model.dropout = 0.0  # dropout rate before each dense layer

    # Optimizer.
    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "sgd"  # sgd | adam | adamw | adadelta | lamb | lion | muon: update rule
    config.optimizer.learning_rate = 0.1  # peak of the schedule
    config.optimizer.momentum = 0.9  # sgd, muon: momentum
    config.optimizer.nesterov = True  # sgd, muon: Nesterov momentum
    config.optimizer.b1 = 0.9  # adam, adamw, lamb, lion: first decay rate; muon: that of biases and norms
    config.optimizer.b2 = 0.999  # second decay rate of the same optimizers
    config.optimizer.eps = 1e-8  # adam, adamw, adadelta, lamb, muon: added to denominators
    config.optimizer.rho = 0.9  # adadelta: decay rate
    config.optimizer.newton_schulz = 5  # muon: iterations that orthogonalize an update
    config.optimizer.weight_decay = 0.0  # decay of kernels, not of biases and norms; 0 with adam: use adamw
    config.optimizer.skip_nonfinite = 0  # non-finite updates in a row to skip; 0: the first ends the run
    config.optimizer.clip_norm = 0.0  # maximum gradient norm; 0.0: no clipping

    # Learning rate over the run.
    config.schedule = ml_collections.ConfigDict()
    config.schedule.name = "one_cycle"  # constant | cosine | one_cycle | step | linear: shape after warmup
    config.schedule.unit = "run"  # run | epochs | steps: unit of warmup and boundaries; run: fractions of it
    config.schedule.warmup = 0.2  # length of the rise from 0 to the peak: linear, for one_cycle a cosine
    config.schedule.end_factor = 0.0  # cosine, one_cycle, linear: last learning rate / peak
    config.schedule.boundaries = (0.5,)  # step: when the learning rate is multiplied by factor
    config.schedule.factor = 0.1  # step: the factor

    # Training.
    config.train = ml_collections.ConfigDict()
    config.train.batch_size = 128  # examples per step
    config.train.epochs = 10  # passes over the training split
    config.train.steps = 0  # length of the run in steps; 0: by epochs
    config.train.min_steps = 0  # minimum length in steps of a run whose length is in epochs
    config.train.init_from = ""  # workdir of the model whose parameters to start from; "": none
    config.train.freeze = ""  # pattern of the parameters that do not change, such as "^conv"; "": none
    config.train.accumulate = 1  # steps per update, of their mean gradient; schedules count updates
    config.train.patience = 0  # evaluations without improvement after which the run ends; 0: never
    config.train.class_weights = ()  # weight of each class in the loss; (): 1
    config.train.balance = "none"  # none | loss | sampling: weigh classes by rarity, or draw equally often
    config.train.label_smoothing = 0.0  # label mass to spread over all classes
    config.train.ema_decay = 0.0  # decay of the moving average of parameters, which is evaluated; 0.0: none
    config.train.steps_per_call = 0  # maximum steps per dispatch to the device; 0: 1 on CPU, 50 elsewhere
    config.train.log_every_steps = 100  # steps over which training metrics are averaged

    # Devices.
    config.mesh = ml_collections.ConfigDict()
    config.mesh.data = 0  # devices that share each batch; 0: all devices of all processes
    config.mesh.shard_params = False  # shard parameters and optimizer state over the devices

    # Many models in one run: member k has the k-th value of each non-empty tuple; with seeds, there is
    # one such member per seed.
    config.population = ml_collections.ConfigDict()
    config.population.seeds = 0  # number of seeds, from config.seed; 0: one model, unless a tuple has values
    config.population.seed = ()  # the seeds themselves
    config.population.learning_rate = ()  # values of optimizer.learning_rate
    config.population.momentum = ()  # values of optimizer.momentum
    config.population.weight_decay = ()  # values of optimizer.weight_decay
    config.population.label_smoothing = ()  # values of train.label_smoothing
    config.population.dropout = ()  # values of model.dropout
    config.population.names = ()  # folder names of the members; (): made from their values

    # Evaluation on the validation and test splits.
    config.evaluation = ml_collections.ConfigDict()
    config.evaluation.batch_size = 1000  # examples per forward pass
    config.evaluation.shift = 0  # shift in pixels of nine views whose probabilities are averaged; 0: one view
    config.evaluation.flip = False  # average probabilities with those of the mirror image
    config.evaluation.temperature = False  # scale probabilities by one temperature, fitted on validation
    config.evaluation.every_steps = 0  # steps between validations; 0: one per epoch
    config.evaluation.min_steps = 0  # minimum number of steps between validations at the ends of epochs

    # Checkpoints.
    config.checkpoint = ml_collections.ConfigDict()
    config.checkpoint.metric = "accuracy"  # accuracy | loss | macro_f1: validation metric that picks the best
    config.checkpoint.keep = 2  # latest checkpoints to keep
    config.checkpoint.every_steps = 0  # steps between checkpoints beside those of evaluations; 0: none

    # Weights & Biases.
    config.wandb = ml_collections.ConfigDict()
    config.wandb.mode = "auto"  # auto | online | offline | disabled: auto: W&B's setting; no key: offline
    config.wandb.project = ""  # project; "": W&B's own setting, or mnist_digit_classification
    config.wandb.entity = ""  # user or team; "": W&B's own setting
    config.wandb.group = ""  # group of runs
    config.wandb.name = ""  # name of the run; "": chosen by W&B
    config.wandb.notes = ""  # description of the run
    config.wandb.tags = ()  # tags of the run
    config.wandb.wait = 2.0  # seconds to wait at the end for uploads, which then continue in the background

    return config.lock()
