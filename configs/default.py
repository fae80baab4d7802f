"""Every field of a run, with its default: MNIST, a small CNN, SGD with a one-cycle schedule.

Copy this file to make a config of your own, or import it as the others do and change a few lines. Any field
can be changed on the command line as well: `--config.train.batch_size=256`. `make docs` writes this file from
the table in mnist_jax/config/fields.py.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0  # of the parameters, the order of examples, augmentation and dropout
    config.dtype = "float32"  # of the computation: float32 or bfloat16; parameters are always float32
    config.profile = 0  # so many steps are traced into profile/ of the workdir; 0: none

    # The data set.
    config.data = ml_collections.ConfigDict()
    config.data.name = "mnist"  # such as "mnist", "cifar10" or another of TFDS; "digits" (bundled); "folder"
    config.data.dir = ""  # folder: where your images are, as train/CLASS/IMAGE and test/CLASS/IMAGE
    config.data.train = "train[:-5000]"  # TFDS split expressions; no example may be in two of the three
    config.data.validation = "train[-5000:]"  # chooses the checkpoint
    config.data.test = "test"  # read once, at the end
    config.data.data_dir = ""  # sets of TFDS, downloads; "": $TFDS_DATA_DIR or ~/tensorflow_datasets
    config.data.manual_dir = ""  # a folder with the set's original files, to prepare it without a download
    config.data.cache_dir = ""  # decoded sets; "": mnist_jax in the user's cache folder
    config.data.image_size = 0  # pixels a side after fitting and cropping; 0: images stay as they are
    config.data.mean = (0.1307,)  # of pixel values in [0, 1], subtracted; one for all channels or one each
    config.data.std = (0.3081,)  # of pixel values in [0, 1], divided by
    config.data.placement = "auto"  # the uint8 images live on: device, host (streamed), auto (by size)

    # Changes of training images.
    config.augment = ml_collections.ConfigDict()
    config.augment.shift = 0.0  # at most so many pixels along each axis
    config.augment.rotation = 0.0  # at most so many degrees either way
    config.augment.scale = 0.0  # at most this fraction larger or smaller
    config.augment.shear = 0.0  # at most so many pixels sideways for each pixel up
    config.augment.elastic = 0.0  # deviation in pixels of displacements on a smooth random field
    config.augment.crop = 0  # at most so many whole pixels along each axis, the border filled by reflection
    config.augment.flip = False  # mirrored left to right half of the time
    config.augment.cutout = 0  # side in pixels of a square blacked out at a random place; 0: none

    # The network.
    config.model = ml_collections.ConfigDict()
    config.model.name = "cnn"  # cnn or airbench, see mnist_jax/models/cnn.py and mnist_jax/models/airbench.py
    config.model.widths = (32, 64)  # channels of each convolution or block; every one halves the image
    config.model.kernel = 3  # side of the convolutions in pixels
    config.model.depth = 2  # airbench: convolutions a block
    config.model.residual = False  # airbench: the first convolution's output is added to the last's
    config.model.whitening = True  # airbench: patches of 2 x 2 pixels are whitened first
    config.model.dense = 256  # cnn: width of the dense layer before the last
    config.model.activation = "relu"  # relu, gelu or silu
    config.model.pooling = "average"  # average or max
    config.model.norm = "none"  # after each convolution: none, batch or group
    config.model.dropout = 0.0  # rate before each dense layer

    # The update.
    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "sgd"  # sgd, adam, adamw, adadelta, lamb, lion or muon
    config.optimizer.learning_rate = 0.1  # the schedule's peak
    config.optimizer.momentum = 0.9  # sgd and muon
    config.optimizer.nesterov = True  # sgd and muon
    config.optimizer.b1 = 0.9  # adam, adamw, lamb and lion; muon, of biases and norms
    config.optimizer.b2 = 0.999  # the same
    config.optimizer.eps = 1e-08  # adam, adamw, adadelta, lamb and muon
    config.optimizer.rho = 0.9  # adadelta
    config.optimizer.newton_schulz = 5  # muon: iterations that make an update orthogonal
    config.optimizer.weight_decay = 0.0  # on kernels, never on biases and norms; adam has none: use adamw
    config.optimizer.skip_nonfinite = 0  # so many updates in a row are left out; 0: the first ends the run
    config.optimizer.clip_norm = 0.0  # gradients longer than this are shortened to it; 0.0: not clipped

    # The learning rate over the run.
    config.schedule = ml_collections.ConfigDict()
    config.schedule.name = "one_cycle"  # constant, cosine, one_cycle, step or linear
    config.schedule.unit = "epochs"  # of warmup and boundaries: epochs or steps
    config.schedule.warmup = 2.0  # rise from 0 to the peak; one_cycle rises along a cosine
    config.schedule.end_factor = 0.0  # cosine, one_cycle, linear: last learning rate / peak
    config.schedule.boundaries = (5.0,)  # step: where the learning rate is multiplied by `factor`
    config.schedule.factor = 0.1  # step

    # The training.
    config.train = ml_collections.ConfigDict()
    config.train.batch_size = 128  # examples a step
    config.train.epochs = 10  # passes over the training split
    config.train.steps = 0  # length of the run in steps instead; 0: as many as `epochs` takes
    config.train.label_smoothing = 0.0  # share of a label's mass spread over all classes
    config.train.ema_decay = 0.0  # moving average of the parameters, evaluated in their place; 0.0: none
    config.train.steps_per_call = 0  # most steps in one dispatch to the device; 0: 1 on CPU, 50 elsewhere
    config.train.log_every_steps = 100  # training metrics are averaged over so many steps

    # The devices.
    config.mesh = ml_collections.ConfigDict()
    config.mesh.data = 0  # devices that share each batch; 0: all of all processes
    config.mesh.shard_params = False  # parameters and optimizer in shares on the devices, not whole on each

    # Many models in one run: member k has the k-th value of each tuple that is not empty, and every such
    # member each of the seeds.
    config.population = ml_collections.ConfigDict()
    config.population.seeds = 0  # so many seeds, from config.seed on; 0: one model, unless a tuple has values
    config.population.seed = ()  # or these seeds
    config.population.learning_rate = ()  # of optimizer
    config.population.momentum = ()  # of optimizer
    config.population.weight_decay = ()  # of optimizer
    config.population.label_smoothing = ()  # of train
    config.population.dropout = ()  # of model
    config.population.names = ()  # of the members' folders; (): made of their values

    # Validation and test.
    config.evaluation = ml_collections.ConfigDict()
    config.evaluation.batch_size = 1000  # examples a forward pass
    config.evaluation.shift = 0  # pixels between nine views whose probabilities are averaged; 0: one view
    config.evaluation.flip = False  # probabilities are averaged over each image and its mirror image
    config.evaluation.every_steps = 0  # on the validation split; 0: after every epoch

    # What is saved.
    config.checkpoint = ml_collections.ConfigDict()
    config.checkpoint.metric = "accuracy"  # on validation, chooses the best: accuracy, loss or macro_f1
    config.checkpoint.keep = 2  # latest checkpoints kept, beside the best
    config.checkpoint.every_steps = 0  # further checkpoints between evaluations; 0: none

    # Weights & Biases.
    config.wandb = ml_collections.ConfigDict()
    config.wandb.mode = "auto"  # online, offline (into the workdir), disabled; auto: online where a key is
    config.wandb.project = "mnist_digit_classification"  # the project
    config.wandb.entity = ""  # the user or team; "": the account's default
    config.wandb.group = ""  # runs that belong together
    config.wandb.name = ""  # the run's name; "": W&B makes one up
    config.wandb.notes = ""  # a text about the run
    config.wandb.tags = ()  # of the run
    config.wandb.wait = 2.0  # seconds the end of a run waits for uploads, which go on behind it after that

    return config.lock()
