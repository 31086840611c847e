"""zuko's own flows, as its tutorials make them."""

import zuko
from _flow_job import maker, solve
from _serve import serve


class Flow:
    learning_rate = 1e-3

    def __init__(self, flow, n_features, n_transforms, hidden):
        made = {"maf": zuko.flows.MAF, "nsf": zuko.flows.NSF}[flow]
        self.flow = made(n_features, transforms=n_transforms, hidden_features=hidden)
        self.module, self.parameters = self.flow, self.flow.parameters

    def log_density(self, x):
        return self.flow().log_prob(x)

    def invert(self, z):
        return self.flow().transform.inv(z)


if __name__ == "__main__":
    serve(maker(Flow), solve, ["zuko", "torch"])
