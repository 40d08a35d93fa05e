"""The pages of labeling: they speak HTTP and HTML, ``labeling.services`` speaks labeling."""
