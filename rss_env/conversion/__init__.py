"""Label maps from what labelling tools write: colour masks, COCO, labelme, VOC."""
