"""Tables and image sets in, numbers out: reading, holding out, encoding, the trained model as a whole."""

from crossent.data.dataset import Dataset, read_dataset
from crossent.data.encoder import Encoded, ImageEncoder, TableEncoder
from crossent.data.pipeline import TrainedModel, load_trained, save_trained
from crossent.data.split import stratified_holdout
from crossent.data.tables import read_table

__all__ = [
    "Dataset",
    "Encoded",
    "ImageEncoder",
    "TableEncoder",
    "TrainedModel",
    "load_trained",
    "read_dataset",
    "read_table",
    "save_trained",
    "stratified_holdout",
]
