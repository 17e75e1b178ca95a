from .download import cache_folder as cache_folder
from .download import fetch as fetch
from .idx import read_idx as read_idx
from .mnist_sets import ImageDataset as ImageDataset
from .mnist_sets import fashion_mnist as fashion_mnist
from .mnist_sets import mnist as mnist
