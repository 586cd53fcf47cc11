"""Where the known sets come from, under which licence, and whom to cite."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType


@dataclasses.dataclass(frozen=True)
class Origin:
    """A published set.

    Attributes:
        title: Its name.
        reader: The format that it is read as, in ``facemask_zoo.datasets.FORMATS``.
        url: Where it is published.
        licence: What its authors allow; what they do not say is said here too.
        citation: Whom to cite.
        layout: Files that the reader expects in the folder.
    """

    title: str
    reader: str
    url: str
    licence: str
    citation: str
    layout: str

    def to_text(self) -> str:
        """All of it, as lines of text."""
        lines = (f"Licence: {self.licence}", f"Cite: {self.citation}", f"From: {self.url}")
        return "\n".join([self.title, *(f"  {line}" for line in lines)])


_FACES = "The pictures show people, who have rights of their own."

ORIGINS: Mapping[str, Origin] = MappingProxyType(
    {
        "masked-face-net": Origin(
            "MaskedFace-Net",
            "masked-face-net",
            "https://github.com/cabani/MaskedFace-Net",
            "CC BY-NC-SA 4.0, not for commercial use; its faces are FFHQ's.",
            "A. Cabani, K. Hammoudi, H. Benhabiles, M. Melkemi: MaskedFace-Net - A dataset of "
            "correctly/incorrectly masked face images in the context of COVID-19. "
            "Smart Health 19, 2021. arXiv:2008.08016",
            "CMFD/, IMFD/, and perhaps images1024x1024/ and ffhq-dataset-v2.json of FFHQ",
        ),
        "celeba-masks": Origin(
            "CelebA+masks",
            "celeba-masks",
            "https://github.com/securifai/masked_faces",
            "CC BY-NC-SA 4.0, not for commercial use; CelebA itself is for research only.",
            "T. Mare, G. Duta, M.-I. Georgescu, A. Sandru, B. Alexe, M. Popescu, R. T. Ionescu: "
            "A realistic approach to generate masked faces applied on two novel masked face "
            "recognition data sets. NeurIPS 2021. arXiv:2109.01745",
            "img_celeba/, celeba_masks/, and masked_celeba/ once the masks are laid over",
        ),
        "casia-masks": Origin(
            "CASIA-WebFace+masks",
            "casia-masks",
            "https://github.com/securifai/masked_faces",
            "CC BY-NC-SA 4.0, not for commercial use; CASIA-WebFace itself is for research only.",
            "As CelebA+masks.",
            "CASIA-WebFace/, CASIA-WebFace_masks/, and masked_CASIA-WebFace/ once they are laid "
            "over",
        ),
        "aizoo": Origin(
            "AIZOO's set",
            "voc",
            "https://github.com/AIZOOTech/FaceMaskDetection",
            "MIT for the repository. The pictures are from WIDER FACE and MAFA, whose terms hold.",
            "AIZOOTech: FaceMaskDetection, 2020; and WIDER FACE and MAFA.",
            "train/ and val/ with pictures and .xml files side by side",
        ),
        "dataroots": Origin(
            "dataroots' photographs",
            "csv",
            "https://github.com/datarootsio/face-mask-detection",
            "MIT for the repository. The photographs are under the terms of Pexels, Unsplash, "
            "Pixabay and other sites; the set lists their addresses.",
            "dataroots: face-mask-detection, 2020.",
            "a CSV file with the columns class, x, y, w, h, raw_img_dir; images/",
        ),
        "mafa": Origin(
            "MAFA",
            "mafa",
            "https://imsg.ac.cn/research/maskedface.html",
            f"None is stated with the files; published for research. {_FACES}",
            "S. Ge, J. Li, Q. Ye, Z. Luo: Detecting Masked Faces in the Wild with LLE-CNNs. "
            "CVPR 2017, 2682-2690.",
            "MAFA-Label-Train/LabelTrainAll.mat, train-images/images/, and the same of Test",
        ),
        "fmld": Origin(
            "FMLD",
            "fmld",
            "https://github.com/borutb-fri/FMLD",
            "MIT for the annotations. The pictures are MAFA's and WIDER FACE's, whose terms hold.",
            "B. Batagelj, P. Peer, V. Struc, S. Dobrisek: How to Correctly Detect Face-Masks for "
            "COVID-19 from Visual Information? Applied Sciences 11(5), 2070, 2021.",
            "FMLD_annotations/, and the pictures of MAFA and WIDER FACE anywhere beside it",
        ),
        "wider": Origin(
            "WIDER FACE",
            "wider",
            "http://shuoyang1213.me/WIDERFACE/",
            "None is stated with the files; its copy on Hugging Face says CC BY-NC-ND 4.0. "
            f"{_FACES}",
            "S. Yang, P. Luo, C. C. Loy, X. Tang: WIDER FACE: A Face Detection Benchmark. "
            "CVPR 2016.",
            "wider_face_split/, WIDER_train/images/, WIDER_val/images/",
        ),
    }
)
"""The sets that the readers know, by name."""
