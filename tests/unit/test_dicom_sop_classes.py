from pydicom._uid_dict import UID_dictionary  # PS3.6 as pydicom carries it

from schemas.dicom import IMAGE_SOP_CLASSES, is_image

_NOT_MEDICAL = ("Hardcopy", "DICOS", "Eddy Current")


def test_images_are_the_image_storage_classes_of_the_standard() -> None:
    named = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Image Storage" in name and not name.startswith(_NOT_MEDICAL)
    }
    assert named == IMAGE_SOP_CLASSES


def test_what_is_no_image() -> None:
    names = {name: uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class"}
    for name in (
        "Basic Text SR Storage",
        "Comprehensive SR Storage",
        "Key Object Selection Document Storage",
        "Grayscale Softcopy Presentation State Storage",
        "Encapsulated PDF Storage",
        "Segmentation Storage",
        "Raw Data Storage",
    ):
        assert not is_image(names[name]), name
    assert not is_image("1.2.3.4")
    assert not is_image("")
