"""The prior over labelled tables: what a table classifier is trained on.

A data set begins with columns from a noisy random network, a graph of trees, a few common
factors, or clusters (`SOURCES` in ``tables``). Its target is a node of that graph, the cluster,
or a function of some columns: linear, additive, a network, a Gaussian process, trees or rules
(`FUNCTIONS`). Then columns become categories, ordinals or numbers in odd units, scores become
classes, and values go missing. Extends Hollmann et al. 2022 (TabPFN), section 4 and appendix C.
"""

from foretoken.models.tabpfn.prior.tables import Tables, sample

__all__ = ["Tables", "sample"]
