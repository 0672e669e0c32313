"""The result: schema, network and W together."""

from schuss.model.model import Model as Model
